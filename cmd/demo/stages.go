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

// stage is one step of the demonstration.
type stage struct {
	// name says what is being done, as an order.
	name string
	// run does it. It returns early when the context ends. note, if any, is told
	// when it is done.
	run func(d *demo, ctx context.Context) (note string, err error)
}

// stages in their order. When the last of them is done, the demonstration has
// shown what it is for.
var stages = []stage{
	{"Start the control plane", (*demo).startControlPlane},
	{"Install the custom resource definitions", (*demo).installCRDs},
	{"Start the operator in namespace " + operatorNamespace, (*demo).startOperator},
	{"Start a simulated scheduler for namespace " + userNamespace, (*demo).startScheduler},
	{"Create a SeldonRuntime there", (*demo).createRuntime},
	{"Wait until it is ready and its scheduler reached", (*demo).untilReady},
	{"Create Models, a Pipeline and an Experiment", (*demo).createRelayed},
	{"Update Model " + updatedModel, (*demo).updateModel},
	{"Delete Model " + deletedModel, (*demo).deleteModel},
	{"Create Model " + deletedModel + " again", (*demo).recreateModel},
	{"Kill the scheduler", (*demo).killScheduler},
	{"Update Model " + missedModel + ", while nobody can be told", (*demo).updateMeanwhile},
	{"Start the scheduler again, with its volume", (*demo).startScheduler},
	{"Wait until it serves everything again", (*demo).untilServedAgain},
}

// The manifests, relative to the root of the repository.
const (
	definitions = "config/crd/bases/*.yaml"
	deployment  = "config/default"
)

func (d *demo) startControlPlane(ctx context.Context) (note string, err error) {
	// It is stopped by us, after the operator, and not by the end of the context:
	// that only ends the start.
	lifetime, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := context.AfterFunc(ctx, cancel)
	cluster, err := controlplane.Start(lifetime, controlplane.Options{Directory: filepath.Join(d.directory, "controlplane")})
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
			d.broken(errors.New("a program of the control plane ended"))
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
	return fmt.Sprintf("%d kinds", len(crds)), d.untilServed(ctx, crds)
}

// startOperator deploys the operator and its configurations as the manifests do, with one difference:
// what the Deployment would run in a pod runs here, as the same user.
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
	// No ports: nobody asks for metrics or probes here, and two demonstrations
	// may run side by side.
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

// operatorKubeconfig writes a kubeconfig that logs in as the service account
// among the objects, and returns its path.
func (d *demo) operatorKubeconfig(objects []*unstructured.Unstructured) (string, error) {
	at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == rbacv1.ServiceAccountKind })
	if at < 0 {
		return "", fmt.Errorf("%s has no service account", deployment)
	}
	// How the API server names service accounts and their groups.
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

func (d *demo) untilReady(ctx context.Context) (string, error) {
	return "", d.await(ctx, allReady)
}

// allReady is what await waits for until everything is ready.
func allReady(w *watch) error {
	if lacking := w.tree().firstUnready(); lacking != nil {
		return fmt.Errorf("%s is not ready: %s", lacking.title(), lacking.detail)
	}
	return nil
}

// await waits until nothing is missing in the picture any more, with --non-interactive no
// longer than the time-out. missing says what is, nil for nothing.
func (d *demo) await(ctx context.Context, missing func(w *watch) error) error {
	watch := d.watch.Load()
	deadline := ctx
	if d.flags.nonInteractive {
		var cancel context.CancelFunc
		deadline, cancel = context.WithTimeout(ctx, d.flags.timeout)
		defer cancel()
	}
	var last error
	if until(deadline, func() bool { last = missing(watch); return last == nil }) {
		return nil
	}
	return fmt.Errorf("gave up after %s: %w\nRun it without --non-interactive to look around in this state, or with a longer --timeout",
		d.flags.timeout, last)
}

// until polls, and tells whether it came true before the context ended.
func until(ctx context.Context, is func() bool) bool {
	ticks := time.NewTicker(drawInterval / 2)
	defer ticks.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return false
		case <-ticks.C:
		}
	}
	return true
}

// howToLookAround says what to type in another terminal.
func (d *demo) howToLookAround() string {
	kubectl := d.kubectl + " --kubeconfig " + d.cluster.KubeconfigPath() + " -n " + userNamespace
	return fmt.Sprintf(`
Look around from another terminal:
  %[1]s get seldonruntimes,servers,pods
  %[1]s get models,pipelines,experiments
  %[1]s get seldonruntimes -o wide
Change or delete something and see it put right:
  %[1]s delete deployments,services --all
Take a Model away, see who misses it, and bring it back:
  %[1]s delete model %[2]s
  %[1]s apply --server-side -f %[3]s
The operator's log: %[4]s
What the scheduler is told: %[5]s

`, kubectl, updatedModel, d.models, d.operatorLog(), d.schedulerLog())
}
