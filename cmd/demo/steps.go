package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// step is one step of the demonstration.
type step struct {
	// name describes the step in the imperative.
	name string
	// run runs the step until the context is cancelled. A note is shown at the end unless
	// it is empty.
	run func(d *demo, ctx context.Context) (note string, err error)
}

// steps are all steps, in their order.
var steps = []step{
	{"Start the control plane", (*demo).startControlPlane},
	{"Install the custom resource definitions", (*demo).installCRDs},
	{"Start the operator in namespace " + operatorNamespace, (*demo).startOperator},
	{"Start a simulated scheduler for namespace " + userNamespace, (*demo).startScheduler},
	{"Create a SeldonRuntime in it", (*demo).createRuntime},
	{"Wait until it is ready and connected to its scheduler", (*demo).awaitReady},
	{"Create Models, a Pipeline and an Experiment", (*demo).createResources},
	{"Update Model " + updatedModel, (*demo).updateModel},
	{"Delete Model " + deletedModel, (*demo).deleteModel},
	{"Create Model " + deletedModel + " again", (*demo).recreateModel},
	{"Kill the scheduler", (*demo).killScheduler},
	{"Update Model " + offlineModel + " while the scheduler does not run", (*demo).updateOfflineModel},
	{"Start the scheduler again, with its volume", (*demo).startScheduler},
	{"Wait until everything is ready again", (*demo).awaitAllReady},
}

// The manifests, relative to the root of the repository.
const (
	definitions = "config/crd/bases/*.yaml"
	deployment  = "config/default"
)

func (d *demo) startControlPlane(ctx context.Context) (note string, err error) {
	// The cancellation of the context aborts the start only: the control plane is stopped
	// later, after the operator.
	clusterCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := context.AfterFunc(ctx, cancel)
	cluster, err := controlplane.Start(clusterCtx, controlplane.Options{Directory: filepath.Join(d.directory, "controlplane")})
	if err != nil {
		cancel()
		return "", err
	}
	d.cluster = cluster
	if !started() {
		return "", ctx.Err()
	}
	go func() {
		select {
		case <-cluster.Broken():
			d.cancelCause(errors.New("a program of the control plane exited"))
		case <-ctx.Done():
		}
	}()
	d.client, err = client.New(cluster.Config(), client.Options{})
	return "kubeconfig: " + cluster.KubeconfigPath(), err
}

func (d *demo) installCRDs(ctx context.Context) (string, error) {
	crds, err := readManifests(definitions)
	if err != nil {
		return "", err
	}
	if err := d.create(ctx, "", crds...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d kinds", len(crds)), d.awaitServed(ctx, crds)
}

// startOperator deploys the objects of the manifests except for the Deployment. The
// operator runs as a process with the permissions of its ServiceAccount instead.
func (d *demo) startOperator(ctx context.Context) (string, error) {
	objects, err := buildManifests(deployment)
	if err != nil {
		return "", err
	}
	objects = slices.DeleteFunc(objects, func(object *unstructured.Unstructured) bool {
		return object.GroupVersionKind() == deploymentKind
	})
	if err := d.create(ctx, "", objects...); err != nil {
		return "", err
	}
	kubeconfig, err := d.operatorKubeconfig(objects)
	if err != nil {
		return "", err
	}
	// Without ports for metrics and probes, so that several demonstrations can run at the
	// same time.
	d.operator, err = d.launch(program{
		name: "operator", path: d.flags.managerBinary, directory: d.directory, log: d.operatorLog(),
		arguments: []string{
			"--clusterwide", "--metrics-bind-address=0", "--health-probe-bind-address=0",
			"--scheduler-address=" + schedulerAddress("{namespace}"),
		},
		environment: []string{"KUBECONFIG=" + kubeconfig, "POD_NAMESPACE=" + operatorNamespace},
	})
	return "log: " + d.operatorLog(), err
}

// operatorKubeconfig writes a kubeconfig for the ServiceAccount in objects, and returns
// its path.
func (d *demo) operatorKubeconfig(objects []*unstructured.Unstructured) (string, error) {
	at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == rbacv1.ServiceAccountKind })
	if at < 0 {
		return "", fmt.Errorf("%s has no ServiceAccount", deployment)
	}
	// The names of ServiceAccounts and their groups as users.
	user := fmt.Sprintf("system:serviceaccount:%s:%s", objects[at].GetNamespace(), objects[at].GetName())
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + objects[at].GetNamespace()}
	_, content, err := d.cluster.User(user, groups...)
	if err != nil {
		return "", err
	}
	path := filepath.Join(d.directory, "operator.kubeconfig")
	return path, os.WriteFile(path, content, 0o600)
}

func (d *demo) createRuntime(ctx context.Context) (string, error) {
	if err := d.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: userNamespace}}); err != nil {
		return "", fmt.Errorf("create namespace %s: %w", userNamespace, err)
	}
	watch, err := startWatch(ctx, d.cluster.Config(), client.ObjectKey{Namespace: userNamespace, Name: d.runtime})
	if err != nil {
		return "", err
	}
	d.watch.Store(watch)
	return d.flags.runtimeFile, d.create(ctx, userNamespace, d.sample...)
}

func (d *demo) awaitReady(ctx context.Context) (string, error) {
	return "", d.await(ctx, allReady)
}

// allReady returns an error if a node of the tree is not ready.
func allReady(w *watch) error {
	if unready := w.tree().firstUnready(); unready != nil {
		return fmt.Errorf("%s is not ready: %s", unready.title(), unready.detail)
	}
	return nil
}

// await polls until check returns nil. With --non-interactive it fails after the timeout.
func (d *demo) await(ctx context.Context, check func(w *watch) error) error {
	watch := d.watch.Load()
	deadline := ctx
	if d.flags.nonInteractive {
		var cancel context.CancelFunc
		deadline, cancel = context.WithTimeout(ctx, d.flags.timeout)
		defer cancel()
	}
	var last error
	if poll(deadline, func() bool { last = check(watch); return last == nil }) {
		return nil
	}
	return fmt.Errorf("timed out after %s: %w\nRun it without --non-interactive to inspect this state, or with a longer --timeout",
		d.flags.timeout, last)
}

// poll polls a condition, and returns whether it was true before the context was
// cancelled.
func poll(ctx context.Context, condition func() bool) bool {
	ticks := time.NewTicker(drawInterval / 2)
	defer ticks.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-ticks.C:
		}
	}
	return true
}

// usageHints returns commands to try in another terminal.
func (d *demo) usageHints() string {
	kubectl := d.kubectl + " --kubeconfig " + d.cluster.KubeconfigPath() + " -n " + userNamespace
	return fmt.Sprintf(`
Inspect it from another terminal:
  %[1]s get seldonruntimes,servers,pods
  %[1]s get models,pipelines,experiments
  %[1]s get seldonruntimes -o wide
Delete something and see it recreated:
  %[1]s delete deployments,services --all
Delete a Model, see what depends on it, and recreate it:
  %[1]s delete model %[2]s
  %[1]s apply --server-side -f %[3]s
The operator's log: %[4]s
The calls that the scheduler receives: %[5]s

`, kubectl, updatedModel, d.models, d.operatorLog(), d.schedulerLog())
}
