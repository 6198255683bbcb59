package charts_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// testPrograms runs the manager as the chart's pods do, with the permissions that the
// chart grants: the operator, the pod of helm test, and the hook of helm uninstall. The
// values are those of the upstream operator.
func testPrograms(t *testing.T, cluster *controlplane.ControlPlane, server client.Client) {
	rendered := render(t, setup, "seldon-mesh", legacyValues(t, setup))
	for name, object := range rendered {
		if object.GetAnnotations()["helm.sh/hook"] != "" || object.GetKind() == "ServiceAccount" {
			continue
		}
		if err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	account := "system:serviceaccount:seldon-mesh:seldon-v2-controller-manager"
	_, kubeconfig, err := cluster.User(account, "system:serviceaccounts", "system:serviceaccounts:seldon-mesh")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	environment := []string{"POD_NAMESPACE=seldon-mesh", "KUBECONFIG=" + filepath.Join(folder, "kubeconfig")}
	if err := os.WriteFile(filepath.Join(folder, "kubeconfig"), kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := process.Program(t.Context(), folder, "manager")
	if err != nil {
		t.Fatal(err)
	}
	run := func(container string, flags ...string) (string, error) {
		command := exec.CommandContext(t.Context(), program, append(arguments(t, rendered, container), flags...)...)
		command.Env = append(os.Environ(), environment...)
		output, err := command.CombinedOutput()
		return string(output), err
	}

	if output, err := run("check", "--timeout=5s"); err == nil || !strings.Contains(output, "Deployment seldon-mesh/seldon-v2-controller-manager has no ready pod") {
		t.Errorf("check, without an operator: %v\n%s", err, output)
	}
	operator, err := process.New(t.Context(), filepath.Join(folder, "log"), program, environment,
		// Without ports that may be in use on this machine.
		append(arguments(t, rendered, "controller"), "--health-probe-bind-address=0", "--metrics-bind-address=0")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		operator.Kill()
		if t.Failed() {
			t.Log(string(read(t, filepath.Join(folder, "log"))))
		}
	})
	// No Deployment controller runs that would do this.
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "seldon-mesh", Name: "seldon-v2-controller-manager"}}
	if err := server.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Status = appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, ObservedGeneration: deployment.Generation}
	if err := server.Status().Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	if output, err := run("check"); err != nil {
		t.Errorf("check: %v\n%s", err, output)
	}

	seldonRuntime := &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: "seldon-mesh", Name: "seldon"}, Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"},
	}
	if err := server.Create(t.Context(), seldonRuntime); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := server.Get(ctx, client.ObjectKeyFromObject(seldonRuntime), seldonRuntime)
		return len(seldonRuntime.Finalizers) > 0, err
	})
	if err != nil {
		t.Fatalf("the operator does not reconcile a SeldonRuntime: %v", err)
	}
	operator.Stop()
	if output, err := run("check", "--timeout=5s"); err == nil || !strings.Contains(output, "Lease") {
		t.Errorf("check, without a leader: %v\n%s", err, output)
	}
	output, err := run("remove-finalizers")
	if err != nil || !strings.Contains(output, "removed the finalizer from SeldonRuntime seldon-mesh/seldon") {
		t.Errorf("remove-finalizers: %v\n%s", err, output)
	}
	for _, object := range []client.Object{deployment, seldonRuntime} {
		if err := server.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
	}
	if len(seldonRuntime.Finalizers) > 0 {
		t.Errorf("finalizers after remove-finalizers: %v", seldonRuntime.Finalizers)
	}
	if *deployment.Spec.Replicas != 0 {
		t.Errorf("the Deployment has %d replicas after remove-finalizers", *deployment.Spec.Replicas)
	}
}

// arguments returns the arguments of a container, with its variables expanded.
func arguments(t *testing.T, rendered objects, container string) []string {
	t.Helper()
	list, found := rendered.place(container + " args")
	if !found {
		t.Fatalf("container %s has no arguments", container)
	}
	var replacements []string
	variables, _ := rendered.place(container + " env")
	for _, variable := range variables.([]any) {
		variable := variable.(map[string]any)
		value, _ := variable["value"].(string)
		if variable["valueFrom"] != nil {
			value = "seldon-mesh" // the pod's namespace, by fieldRef
		}
		replacements = append(replacements, "$("+variable["name"].(string)+")", value)
	}
	var texts []string
	for _, argument := range list.([]any) {
		texts = append(texts, strings.NewReplacer(replacements...).Replace(argument.(string)))
	}
	return texts
}
