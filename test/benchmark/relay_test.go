package benchmark_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/faultproxy"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// relayBench is an operator, as a process, with simulated schedulers.
type relayBench struct {
	*testing.B
	folder string
	admin  client.Client
	// audit is the path of the API server's audit log.
	audit string
	// metrics is the host:port of the operator's metrics.
	metrics  string
	operator *process.Process
}

// newRelayBench starts a control plane with an audit log of all requests, and the
// operator.
func newRelayBench(b *testing.B, namespaces int) *relayBench {
	b.Helper()
	folder, err := os.MkdirTemp("", "bench") //nolint:usetesting // the path of a Unix socket is limited to about 100 bytes
	check(b, err)
	b.Cleanup(func() { check(b, os.RemoveAll(folder)) })
	policy, audit := filepath.Join(folder, "policy.yaml"), filepath.Join(folder, "audit.log")
	check(b, os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"), 0o600))
	cluster, err := controlplane.Start(b.Context(), controlplane.Options{
		CRDs:           []string{filepath.Join("..", "..", "config", "crd", "bases")},
		APIServerFlags: []string{"--audit-policy-file=" + policy, "--audit-log-path=" + audit},
	})
	check(b, err)
	b.Cleanup(func() { check(b, cluster.Stop()) })
	admin, err := client.New(cluster.Config(), client.Options{Scheme: newScheme(b)})
	check(b, err)
	check(b, admin.Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}))
	for i := range namespaces {
		check(b, admin.Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team(i)}}))
	}
	install(b, admin, "seldonconfigs/default.yaml", &v1alpha1.SeldonConfig{})
	install(b, admin, "serverconfigs/mlserver.yaml", &v1alpha1.ServerConfig{})
	_, kubeconfig, err := cluster.User("operator", "system:masters")
	check(b, err)
	file := filepath.Join(folder, "kubeconfig")
	check(b, os.WriteFile(file, kubeconfig, 0o600))
	binary, err := process.Program(b.Context(), folder, "manager")
	check(b, err)
	metrics, err := process.FreeAddress("127.0.0.1")
	check(b, err)
	operator, err := process.New(b.Context(), filepath.Join(folder, "operator.log"), binary,
		[]string{"KUBECONFIG=" + file, "POD_NAMESPACE=" + operatorNamespace},
		"--clusterwide", "--metrics-bind-address="+metrics, "--health-probe-bind-address=0", "--log-level=error",
		"--scheduler-address=unix:"+folder+"/{namespace}")
	check(b, err)
	check(b, operator.Start())
	b.Cleanup(func() { operator.Kill() })
	return &relayBench{B: b, folder: folder, admin: admin, audit: audit, metrics: metrics, operator: operator}
}

// scheduler starts the scheduler of a namespace, and creates its runtime with one
// Server.
func (b *relayBench) scheduler(namespace string) *fakescheduler.Scheduler {
	b.Helper()
	sim, err := fakescheduler.Start(b.Context(), fakescheduler.Options{Address: "unix:" + filepath.Join(b.folder, namespace)})
	check(b.B, err)
	b.Cleanup(sim.Stop)
	b.runtime(namespace)
	await(b.B, func() bool { return sim.Calls("ServerNotify") > 0 && sim.GateOpen() })
	return sim
}

// runtime creates the runtime of a namespace, with one Server.
func (b *relayBench) runtime(namespace string) {
	b.Helper()
	check(b.B, b.admin.Create(b.Context(), &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon"},
		Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default", Servers: []v1alpha1.RuntimeServer{
			{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}},
		}},
	}))
}

// create creates Models in parallel.
func (b *relayBench) create(namespace string, count int) {
	b.Helper()
	parallel(b.B, count, func(ctx context.Context, i int) error {
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("model-%d", i)}}
		model.Spec.StorageURI = "gs://models/iris"
		return b.admin.Create(ctx, model)
	})
}

// models returns the numbers of Models and of ready Models in a namespace.
func (b *relayBench) models(namespace string) (all, ready int) {
	b.Helper()
	list := &v1alpha1.ModelList{}
	check(b.B, b.admin.List(b.Context(), list, client.InNamespace(namespace)))
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			ready++
		}
	}
	return len(list.Items), ready
}

// until polls like await, but every 50 ms.
func (b *relayBench) until(done func() bool) {
	b.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > 10*time.Minute {
			b.Fatal("not done within ten minutes")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// written returns the number of the operator's writes to a resource, according to the
// API server's audit log.
func (b *relayBench) written(resource string) float64 {
	b.Helper()
	content, err := os.ReadFile(b.audit)
	check(b.B, err)
	count := 0
	for line := range strings.SplitSeq(string(content), "\n") {
		if strings.Contains(line, `"username":"operator"`) && strings.Contains(line, `"resource":"`+resource+`"`) &&
			(strings.Contains(line, `"verb":"patch"`) || strings.Contains(line, `"verb":"create"`) || strings.Contains(line, `"verb":"update"`) || strings.Contains(line, `"verb":"delete"`)) {
			count++
		}
	}
	return float64(count)
}

// reconciles returns the number of a controller's reconciles, according to the
// operator's metrics.
func (b *relayBench) reconciles(controller string) float64 {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+b.metrics+"/metrics", nil)
	check(b.B, err)
	response, err := http.DefaultClient.Do(request)
	check(b.B, err)
	defer response.Body.Close() //nolint:errcheck // the body was read
	content, err := io.ReadAll(response.Body)
	check(b.B, err)
	total := 0.0
	for line := range strings.SplitSeq(string(content), "\n") {
		if strings.HasPrefix(line, "controller_runtime_reconcile_total{controller=\""+controller+"\"") {
			count, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
			check(b.B, err)
			total += count
		}
	}
	return total
}

// memory returns the operator's current resident memory in MiB.
func (b *relayBench) memory() float64 { return b.status("VmRSS") }

// peak returns the operator's peak resident memory in MiB.
func (b *relayBench) peak() float64 { return b.status("VmHWM") }

// status returns a field of /proc/PID/status in MiB, or 0 on other systems than Linux.
func (b *relayBench) status(field string) float64 {
	b.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.operator.Pid()))
	check(b.B, err)
	for line := range strings.SplitSeq(string(content), "\n") {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			kilobytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			check(b.B, err)
			return kilobytes / 1024
		}
	}
	b.Fatalf("/proc/%d/status has no %s", b.operator.Pid(), field)
	return 0
}

// BenchmarkModels creates 1,000 Models in one namespace at once, and deletes them when
// all are ready. Metrics: seconds until all are ready and until all are deleted, the
// operator's writes per Model, writes to and reconciles of the runtime in that time, and
// memory per 1,000 Models.
func BenchmarkModels(b *testing.B) {
	const count = 1000
	for b.Loop() {
		bench := newRelayBench(b, 1)
		sim := bench.scheduler(team(0))
		time.Sleep(5 * time.Second) // until the runtime is ready
		before, runtimeWrites, rss := bench.written("models"), bench.written("seldonruntimes"), bench.memory()
		runtimeReconciles := bench.reconciles("seldonruntime")
		start := time.Now()
		bench.create(team(0), count)
		bench.until(func() bool { _, ready := bench.models(team(0)); return ready == count })
		b.ReportMetric(time.Since(start).Seconds(), "ready-s")
		up := bench.written("models")
		b.ReportMetric((up-before)/count, "writes/model-up")
		b.ReportMetric(bench.memory()-rss, "MiB/1000-models")
		b.ReportMetric(float64(sim.Calls("LoadModel"))/count, "LoadModel/model")

		start = time.Now()
		check(b, bench.admin.DeleteAllOf(b.Context(), &v1alpha1.Model{}, client.InNamespace(team(0))))
		bench.until(func() bool { all, _ := bench.models(team(0)); return all == 0 })
		b.ReportMetric(time.Since(start).Seconds(), "deleted-s")
		b.ReportMetric((bench.written("models")-up)/count, "writes/model-down")
		b.ReportMetric(bench.written("seldonruntimes")-runtimeWrites, "writes-to-runtime")
		b.ReportMetric(bench.reconciles("seldonruntime")-runtimeReconciles, "reconciles-of-runtime")
		b.ReportMetric(bench.peak(), "operator-peak-MiB")
	}
}

// BenchmarkIsolation measures how long a new Model takes to become ready in one of 20
// healthy namespaces: while all schedulers are healthy, and while the scheduler of
// another namespace with 200 waiting Models accepts connections but never responds.
// Metrics: seconds (the median of 100 Models, one after the other) and their ratio.
func BenchmarkIsolation(b *testing.B) {
	const namespaces, waiting, probes = 20, 200, 100
	for b.Loop() {
		bench := newRelayBench(b, namespaces+1)
		for i := range namespaces {
			bench.scheduler(team(i))
		}
		probe := func(round string) float64 {
			var took []float64
			for i := range probes {
				model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: team(i % namespaces), Name: fmt.Sprintf("%s-%d", round, i)}}
				model.Spec.StorageURI = "gs://models/iris"
				start := time.Now()
				check(b, bench.admin.Create(b.Context(), model))
				for !meta.IsStatusConditionTrue(model.Status.Conditions, v1alpha1.ConditionReady) {
					time.Sleep(2 * time.Millisecond)
					check(b, bench.admin.Get(b.Context(), client.ObjectKeyFromObject(model), model))
				}
				took = append(took, time.Since(start).Seconds())
			}
			slices.Sort(took)
			return took[probes/2]
		}
		time.Sleep(10 * time.Second) // until the runtimes are ready
		probe("warm")
		healthy := probe("healthy")

		unresponsive := team(namespaces)
		proxy, err := faultproxy.Listen(b.Context(), "unix:"+filepath.Join(bench.folder, unresponsive), "unix:"+filepath.Join(bench.folder, team(0)))
		check(b, err)
		proxy.Freeze()
		bench.runtime(unresponsive)
		bench.create(unresponsive, waiting)
		time.Sleep(5 * time.Second)
		affected := probe("affected")
		proxy.Close()
		b.ReportMetric(healthy, "healthy-s")
		b.ReportMetric(affected, "one-unresponsive-s")
		b.ReportMetric(affected/healthy, "ratio")
	}
}

// BenchmarkResync restarts a scheduler with 5,000 Models, once with the Models lost and
// once with them kept. Metrics of each: seconds until the scheduler has all Models and
// all are ready in the cluster, calls that load, calls that list or poll, and the
// operator's writes; and the operator's peak memory.
func BenchmarkResync(b *testing.B) {
	const count = 5000
	for b.Loop() {
		bench := newRelayBench(b, 1)
		sim := bench.scheduler(team(0))
		bench.create(team(0), count)
		bench.until(func() bool { _, ready := bench.models(team(0)); return ready == count })
		loaded := func() bool {
			available := 0
			for _, model := range sim.Models() {
				if model.Available > 0 && !model.Deleted {
					available++
				}
			}
			return available == count
		}
		for _, restart := range []struct {
			name    string
			options fakescheduler.RestartOptions
		}{{"lost", fakescheduler.RestartOptions{LoseVolume: true, LoseAgents: true}}, {"kept", fakescheduler.RestartOptions{}}} {
			time.Sleep(5 * time.Second)
			sim.ResetCounters()
			before, start := bench.written("models"), time.Now()
			check(b, sim.Restart(restart.options))
			bench.until(func() bool { return sim.Calls("ModelStatus") > 0 && loaded() })
			bench.until(func() bool { _, ready := bench.models(team(0)); return ready == count })
			b.ReportMetric(time.Since(start).Seconds(), restart.name+"-s")
			time.Sleep(3 * time.Second) // for writes that follow
			b.ReportMetric(float64(sim.Calls("LoadModel")), restart.name+"-loads")
			b.ReportMetric(float64(sim.Calls("ModelStatus")), restart.name+"-listings")
			b.ReportMetric(bench.written("models")-before, restart.name+"-writes")
		}
		b.ReportMetric(bench.peak(), "operator-peak-MiB")
	}
}
