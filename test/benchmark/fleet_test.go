// Package benchmark_test measures the operator as a process against a real control
// plane. It has benchmarks only: `make bench` runs them.
package benchmark_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	fleetSize         = 100
	workers           = 16
	operatorNamespace = "seldon-system"
)

// BenchmarkFleet measures how long a running operator takes for 100 namespaces, each
// with a SeldonRuntime and two Servers. For comparison, a plain client sends the same
// objects with 16 workers: once with create requests, and once with server-side apply,
// which takes the API server longer. Each ends when all workloads are ready.
//
// Metrics: the seconds of each, the ratios of the operator's to the other two, the
// operator's CPU seconds, its peak resident memory, and the anonymous part of that. The
// rest are pages of the program's file, which the kernel can reclaim when a container
// reaches its memory limit.
func BenchmarkFleet(b *testing.B) {
	log.SetLogger(logr.Discard()) // envtest logs a warning without a logger
	binary, err := process.Program(b.Context(), b.TempDir(), "manager")
	check(b, err)
	plugin, err := process.Program(b.Context(), b.TempDir(), "kubectl-seldon")
	check(b, err)
	for b.Loop() {
		byOperator, usage, anonymous, objects := expandFleet(b, binary, plugin)
		created, applied := createFleet(b, objects, create), createFleet(b, objects, apply)
		b.ReportMetric(byOperator.Seconds(), "operator-s")
		b.ReportMetric(created.Seconds(), "created-s")
		b.ReportMetric(applied.Seconds(), "applied-s")
		b.ReportMetric(byOperator.Seconds()/created.Seconds(), "per-created")
		b.ReportMetric(byOperator.Seconds()/applied.Seconds(), "per-applied")
		b.ReportMetric((usage.SystemTime() + usage.UserTime()).Seconds(), "operator-cpu-s")
		b.ReportMetric(float64(usage.SysUsage().(*syscall.Rusage).Maxrss)/1024, "operator-peak-MiB")
		b.ReportMetric(float64(anonymous)/1024, "operator-anonymous-peak-MiB")
	}
}

// startCluster starts a control plane with empty namespaces team-0 and so on.
func startCluster(b *testing.B) (*controlplane.ControlPlane, client.Client) {
	b.Helper()
	cluster, err := controlplane.Start(b.Context(), controlplane.Options{
		Nodes: 20, CRDs: []string{filepath.Join("..", "..", "config", "crd", "bases")},
	})
	check(b, err)
	admin, err := client.New(cluster.Config(), client.Options{Scheme: newScheme(b)})
	check(b, err)
	parallel(b, fleetSize, func(ctx context.Context, i int) error {
		return admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team(i)}})
	})
	// A controller creates the ServiceAccounts of the namespaces, which is not measured.
	await(b, func() bool {
		accounts := &corev1.ServiceAccountList{}
		check(b, admin.List(b.Context(), accounts))
		return len(accounts.Items) >= fleetSize
	})
	return cluster, admin
}

func newScheme(b *testing.B) *runtime.Scheme {
	b.Helper()
	scheme := runtime.NewScheme()
	check(b, clientgoscheme.AddToScheme(scheme))
	check(b, v1alpha1.AddToScheme(scheme))
	return scheme
}

func team(i int) string { return fmt.Sprintf("team-%d", i) }

// expandFleet measures the operator, and returns the objects that it creates in one
// namespace.
func expandFleet(b *testing.B, binary, plugin string) (took time.Duration, usage *os.ProcessState, anonymous int, objects []client.Object) {
	b.Helper()
	cluster, admin := startCluster(b)
	defer func() { check(b, cluster.Stop()) }()
	check(b, admin.Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}))
	install(b, admin, "seldonconfigs/default.yaml", &v1alpha1.SeldonConfig{})
	install(b, admin, "serverconfigs/mlserver.yaml", &v1alpha1.ServerConfig{})
	install(b, admin, "serverconfigs/triton.yaml", &v1alpha1.ServerConfig{})

	probes, err := process.FreeAddress("127.0.0.1")
	check(b, err)
	manager := exec.Command(binary, "--clusterwide", "--metrics-bind-address=0", "--health-probe-bind-address="+probes, "--log-level=error")
	manager.Env = append(os.Environ(), "KUBECONFIG="+cluster.KubeconfigPath(), "POD_NAMESPACE="+operatorNamespace)
	manager.Stderr = os.Stderr
	check(b, manager.Start())
	measured := anonymousPeak(manager.Process.Pid)
	await(b, func() bool {
		response, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return false
		}
		check(b, response.Body.Close())
		return response.StatusCode == http.StatusOK
	})

	start := time.Now()
	parallel(b, fleetSize, func(ctx context.Context, i int) error {
		return admin.Create(ctx, &v1alpha1.SeldonRuntime{
			ObjectMeta: metav1.ObjectMeta{Namespace: team(i), Name: "seldon"},
			Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default", Servers: []v1alpha1.RuntimeServer{
				{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}},
				{Name: "triton", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "triton"}},
			}},
		})
	})
	awaitWorkloads(b, admin)
	took = time.Since(start)
	await(b, func() bool {
		runtimes := &v1alpha1.SeldonRuntimeList{}
		check(b, admin.List(b.Context(), runtimes))
		for i := range runtimes.Items {
			if !meta.IsStatusConditionTrue(runtimes.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
				return false
			}
		}
		return len(runtimes.Items) == fleetSize
	})
	objects = objectsIn(b, admin, team(0))
	planFleet(b, plugin, cluster.KubeconfigPath())
	check(b, manager.Process.Signal(syscall.SIGTERM))
	_ = manager.Wait()
	return took, manager.ProcessState, <-measured, objects
}

// planFleet measures the plan of a change of the SeldonConfig that all runtimes use, and the
// tree of one runtime: the time that passes, and the CPU time of the program itself.
func planFleet(b *testing.B, plugin, kubeconfig string) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "seldonconfigs", "default.yaml"))
	check(b, err)
	changed := filepath.Join(b.TempDir(), "seldonconfig.yaml")
	check(b, os.WriteFile(changed, bytes.ReplaceAll(text, []byte("seldon-envoy:"), []byte("seldon-envoy:changed-")), 0o600))
	for _, measured := range []struct {
		name string
		args []string
	}{
		{"plan", []string{"plan", "-A", "-f", changed, "--operator-namespace", operatorNamespace}},
		{"tree", []string{"tree", "seldon", "-n", team(0)}},
	} {
		start := time.Now()
		command := exec.Command(plugin, append(measured.args, "--kubeconfig", kubeconfig)...)
		output, err := command.CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %v\n%s", measured.args, err, output)
		}
		b.Logf("%s", output)
		b.ReportMetric(time.Since(start).Seconds(), measured.name+"-s")
		b.ReportMetric((command.ProcessState.SystemTime() + command.ProcessState.UserTime()).Seconds(), measured.name+"-cpu-s")
	}
}

// anonymousPeak polls the anonymous resident memory of a process until it exits, and
// then sends the maximum in KiB.
func anonymousPeak(pid int) <-chan int {
	peak := make(chan int, 1)
	go func() {
		maximum := 0
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, found := strings.Cut(string(status), "RssAnon:")
			if err != nil || !found {
				peak <- maximum
				return
			}
			if now, err := strconv.Atoi(strings.Fields(after)[0]); err == nil {
				maximum = max(maximum, now)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return peak
}

// create creates an object and sets its UID.
func create(ctx context.Context, to client.Client, object client.Object) error {
	return to.Create(ctx, object)
}

// apply creates an object by server-side apply and sets its UID.
func apply(ctx context.Context, to client.Client, object client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	applied := &unstructured.Unstructured{Object: content}
	err = to.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("plain"), client.ForceOwnership)
	object.SetUID(applied.GetUID())
	return err
}

// createFleet measures how long a plain client takes to create the objects, including
// the SeldonRuntime and Servers, in every namespace.
func createFleet(b *testing.B, objects []client.Object, write func(context.Context, client.Client, client.Object) error) time.Duration {
	b.Helper()
	cluster, admin := startCluster(b)
	defer func() { check(b, cluster.Stop()) }()
	// Owners are created before their children.
	var generations [3][]client.Object
	for i := range fleetSize {
		for _, object := range objects {
			object := object.DeepCopyObject().(client.Object)
			object.SetNamespace(team(i))
			if binding, isBinding := object.(*rbacv1.RoleBinding); isBinding {
				binding.Subjects[0].Namespace = team(i)
			}
			generation := 2
			switch object.(type) {
			case *v1alpha1.SeldonRuntime:
				generation = 0
			case *v1alpha1.Server:
				generation = 1
			}
			generations[generation] = append(generations[generation], object)
		}
	}
	var owners sync.Map
	start := time.Now()
	for _, generation := range generations {
		parallel(b, len(generation), func(ctx context.Context, i int) error {
			object := generation[i]
			references := object.GetOwnerReferences()
			for i := range references {
				uid, _ := owners.Load(ownerKey{object.GetNamespace(), references[i].Kind, references[i].Name})
				references[i].UID = uid.(types.UID)
			}
			object.SetOwnerReferences(references)
			kind := object.GetObjectKind().GroupVersionKind().Kind
			if err := write(ctx, admin, object); err != nil {
				return err
			}
			owners.Store(ownerKey{object.GetNamespace(), kind, object.GetName()}, object.GetUID())
			return nil
		})
	}
	awaitWorkloads(b, admin)
	return time.Since(start)
}

// ownerKey identifies an owner.
type ownerKey struct{ namespace, kind, name string }

// objectsIn returns the objects in a namespace in a form that can be created in another
// one, except for the UIDs of owners.
func objectsIn(b *testing.B, reader client.Client, namespace string) []client.Object {
	b.Helper()
	var objects []client.Object
	for _, list := range []client.ObjectList{
		&corev1.ServiceAccountList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{},
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &v1alpha1.SeldonRuntimeList{}, &v1alpha1.ServerList{},
	} {
		check(b, reader.List(b.Context(), list, client.InNamespace(namespace)))
		check(b, meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			gvk, err := apiutil.GVKForObject(object, reader.Scheme())
			if err != nil {
				return err
			}
			object.GetObjectKind().SetGroupVersionKind(gvk)
			if object.GetName() == "default" || object.GetName() == "kube-root-ca.crt" {
				return nil // Kubernetes creates these in every namespace
			}
			object.SetResourceVersion("")
			object.SetUID("")
			object.SetManagedFields(nil)
			if service, isService := object.(*corev1.Service); isService {
				if service.Spec.ClusterIP != corev1.ClusterIPNone {
					service.Spec.ClusterIP = ""
				}
				service.Spec.ClusterIPs = nil
				for i := range service.Spec.Ports {
					service.Spec.Ports[i].NodePort = 0
				}
			}
			objects = append(objects, object)
			return nil
		}))
	}
	return objects
}

// awaitWorkloads returns when the workloads of the whole fleet exist and are ready. It
// polls one namespace after the other, so that waiting costs little.
func awaitWorkloads(b *testing.B, reader client.Reader) {
	b.Helper()
	for i := range fleetSize {
		await(b, func() bool { return workloadsReady(b, reader, team(i)) })
	}
}

func workloadsReady(b *testing.B, reader client.Reader, namespace string) bool {
	b.Helper()
	deployments, sets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
	check(b, reader.List(b.Context(), deployments, client.InNamespace(namespace)))
	check(b, reader.List(b.Context(), sets, client.InNamespace(namespace)))
	if len(deployments.Items) < 5 || len(sets.Items) < 3 {
		return false
	}
	for i := range deployments.Items {
		if deployments.Items[i].Status.ReadyReplicas < 1 {
			return false
		}
	}
	for i := range sets.Items {
		if sets.Items[i].Status.ReadyReplicas < 1 {
			return false
		}
	}
	return true
}

// install creates the configuration in a file of config/.
func install(b *testing.B, writer client.Client, file string, object client.Object) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", file))
	check(b, err)
	check(b, yaml.UnmarshalStrict(text, object))
	object.SetNamespace(operatorNamespace)
	check(b, writer.Create(b.Context(), object))
}

// parallel calls do with 0 to count-1, from 16 goroutines.
func parallel(b *testing.B, count int, do func(ctx context.Context, i int) error) {
	b.Helper()
	next := make(chan int)
	var group sync.WaitGroup
	errs := make([]error, workers)
	for worker := range workers {
		group.Go(func() {
			for i := range next {
				if errs[worker] == nil {
					errs[worker] = do(b.Context(), i)
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	group.Wait()
	for _, err := range errs {
		check(b, err)
	}
}

// await polls once a second until done, so that polling does not affect the result.
func await(b *testing.B, done func() bool) {
	b.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			b.Fatal("not done within ten minutes")
		}
		time.Sleep(time.Second)
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
