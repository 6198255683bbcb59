package chaos

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/faultproxy"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	operatorNamespace = "seldon-system"
	namespace         = "team"
	serverName        = "mlserver"
	schedulerPod      = "seldon-scheduler-0"
	// unreadyPeriod is how long the pod is not ready after a restart. Conditions do not
	// report less than a second.
	unreadyPeriod = 1500 * time.Millisecond
)

// environment is a cluster with an operator and a scheduler, which all rounds share.
type environment struct {
	// WithT is that of the running test.
	*WithT
	ctx       context.Context
	k8sClient client.Client
	operator  *process.Process
	scheduler *fakescheduler.Scheduler
	// direct is the path of the scheduler's socket, without the proxy.
	direct string
	// proxy is between operator and scheduler.
	proxy *faultproxy.Proxy
	// restarts counts how often the scheduler was ended.
	restarts int
	// unreadySince is when the scheduler's pod turned unready, or zero.
	unreadySince time.Time
	// versions are the versions of Models after the last round.
	versions map[modelGeneration]uint32
	logs     []string
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	// The controller-runtime client logs a warning without a logger.
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	e := &environment{WithT: NewWithT(t), ctx: t.Context()}
	folder := t.TempDir()
	program := make(chan string, 1)
	go func() {
		path, err := process.Program(t.Context(), folder, "manager")
		if err != nil {
			t.Error(err)
		}
		program <- path
	}()
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{filepath.Join("..", "..", "..", "config", "crd", "bases")}})
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	e.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	e.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	e.k8sClient, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	e.Expect(err).NotTo(HaveOccurred())

	e.direct = filepath.Join(folder, "s")
	calls, err := os.Create(filepath.Join(folder, "scheduler.log"))
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = calls.Close() })
	e.scheduler, err = fakescheduler.Start(t.Context(), fakescheduler.Options{
		Address: "unix:" + e.direct,
		Delays: fakescheduler.Delays{
			AgentLoad: 50 * time.Millisecond, AgentUnload: 50 * time.Millisecond, Envoy: 100 * time.Millisecond, Gateways: 20 * time.Millisecond,
		},
		OnCall: func(c fakescheduler.Call) { logCall(calls, c) },
	})
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(e.scheduler.Kill)
	e.proxy, err = faultproxy.Listen(t.Context(), "127.0.0.1:0", "unix:"+e.direct)
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(e.proxy.Close)

	for _, name := range []string{operatorNamespace, namespace} {
		e.Expect(e.k8sClient.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	e.createFrom(filepath.Join("seldonconfigs", "default.yaml"), &v1alpha1.SeldonConfig{})
	e.createFrom(filepath.Join("serverconfigs", "mlserver.yaml"), &v1alpha1.ServerConfig{})
	e.logs = []string{filepath.Join(folder, "operator.log"), calls.Name()}
	e.operator, err = process.New(t.Context(), e.logs[0], <-program,
		[]string{"KUBECONFIG=" + cluster.KubeconfigPath(), "POD_NAMESPACE=" + operatorNamespace},
		"--namespace="+namespace, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--scheduler-address", e.proxy.Address())
	e.Expect(err).NotTo(HaveOccurred())
	e.startOperator()
	t.Cleanup(func() { e.operator.Kill() })
	e.Expect(e.k8sClient.Create(t.Context(), &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon"},
		Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default", Servers: []v1alpha1.RuntimeServer{
			{Name: serverName, ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}},
		}},
	})).To(Succeed())
	e.Eventually(func() (corev1.PodPhase, error) {
		pod := &corev1.Pod{}
		err := e.k8sClient.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: schedulerPod}, pod)
		return pod.Status.Phase, err
	}).WithTimeout(effectTimeout).Should(Equal(corev1.PodRunning))
	return e
}

func (e *environment) createFrom(file string, object client.Object) {
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "config", file))
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(yaml.Unmarshal(content, object)).To(Succeed())
	object.SetNamespace(operatorNamespace)
	e.Expect(e.k8sClient.Create(e.ctx, object)).To(Succeed())
}

// logCall appends a line to the log of the scheduler's calls.
func logCall(to *os.File, c fakescheduler.Call) {
	fields := []string{time.Now().Format(time.StampMilli), c.Method, c.Name, c.Code.String()}
	if c.Opened {
		fields = append(fields, "opened")
	}
	// One write per line: calls are logged by many goroutines.
	_, _ = to.WriteString(strings.Join(fields, " ") + "\n")
}

// logTails returns the last lines of the processes.
func (e *environment) logTails() string {
	var tails strings.Builder
	for _, name := range e.logs {
		content, err := os.ReadFile(name)
		if err != nil {
			content = []byte(err.Error())
		}
		tails.WriteString(filepath.Base(name) + ":\n" + string(content[max(0, len(content)-1<<15):]) + "\n")
	}
	return tails.String()
}

func (e *environment) killOperator() {
	state := e.operator.Kill()
	e.Expect(state).NotTo(BeNil(), "the operator was not running")
	status := state.Sys().(syscall.WaitStatus)
	e.Expect(status.Signaled() && status.Signal() == syscall.SIGKILL).To(BeTrue(), "the operator exited by itself: %s", state)
}

func (e *environment) startOperator() { e.Expect(e.operator.Start()).To(Succeed()) }

func (e *environment) killScheduler() {
	e.scheduler.Kill()
	e.expectSchedulerDown()
}

func (e *environment) expectSchedulerDown() {
	_, err := net.Dial("unix", e.direct)
	e.Expect(err).To(HaveOccurred(), "the scheduler accepts connections")
	e.restarts++
	e.unreadySince = time.Now()
	e.setSchedulerReady(corev1.ConditionFalse)
}

func (e *environment) startScheduler(options fakescheduler.RestartOptions) {
	e.Expect(e.scheduler.Restart(options)).To(Succeed())
}

// awaitReadiness makes the scheduler's pod ready again if it is not, as its kubelet
// does some time after the restart: the operator reconnects then, if it has not.
func (e *environment) awaitReadiness() {
	if !e.unreadySince.IsZero() {
		time.Sleep(time.Until(e.unreadySince.Add(unreadyPeriod)))
		e.setSchedulerReady(corev1.ConditionTrue)
		e.unreadySince = time.Time{}
	}
}

// setSchedulerReady makes the scheduler's pod ready or not.
func (e *environment) setSchedulerReady(status corev1.ConditionStatus) {
	pod := &corev1.Pod{}
	e.Expect(e.k8sClient.Get(e.ctx, client.ObjectKey{Namespace: namespace, Name: schedulerPod}, pod)).To(Succeed())
	before := pod.DeepCopy()
	for i := range pod.Status.Conditions {
		if kind := pod.Status.Conditions[i].Type; kind == corev1.PodReady || kind == corev1.ContainersReady {
			pod.Status.Conditions[i].Status = status
		}
	}
	e.Expect(e.k8sClient.Status().Patch(e.ctx, pod, client.StrategicMergeFrom(before))).To(Succeed())
}

// cut breaks the network, and fails the test if there was no connection.
func (e *environment) cut() {
	ended := e.proxy.Stats().Ended
	e.proxy.Cut()
	e.Expect(e.proxy.Stats().Ended).To(BeNumerically(">", ended), "ended connections")
}

// apply makes the change of a mutation, as a user.
func (e *environment) apply(m mutation) {
	desired := m.manifest()
	switch m.verb {
	case create:
		// An object of that name may still be terminating.
		e.Eventually(func() error {
			err := e.k8sClient.Create(e.ctx, desired.DeepCopyObject().(client.Object))
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return StopTrying("create").Wrap(err)
			}
			return err
		}).WithTimeout(settleTimeout).Should(Succeed(), m.String())
	case update:
		live := e.get(m.object)
		changed := live.DeepCopyObject().(client.Object)
		copySpec(changed, desired)
		e.Expect(e.k8sClient.Patch(e.ctx, changed, client.MergeFrom(live))).To(Succeed(), m.String())
		e.Expect(changed.GetGeneration()).To(BeNumerically(">", live.GetGeneration()), m.String())
	case remove:
		e.Expect(e.k8sClient.Delete(e.ctx, desired)).To(Succeed(), m.String())
	}
}

// get returns an object that exists.
func (e *environment) get(o object) resource {
	live := mutation{object: o}.manifest()
	e.Expect(e.k8sClient.Get(e.ctx, client.ObjectKeyFromObject(live), live)).To(Succeed(), o.String())
	return live
}
