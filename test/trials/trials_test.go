// Package trials_test tries the operator as its users' clusters do: it is killed,
// its scheduler is killed, the network between them fails, while Models, Pipelines
// and Experiments come, change and go. Operator, scheduler and control plane are
// processes.
package trials_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/yaml"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/controlplane"
	"github.com/seldon-operator/seldon-operator/test/process"
)

const (
	operatorNamespace = "seldon-system"
	namespace         = "team"
	rounds            = 20
	// seed of the trials: the same rounds each time.
	seed = 20261124
	// settleTimeout is how long things may take to come right: a connection that is
	// lost in one direction is given up after two deadlines of calls.
	settleTimeout = 90 * time.Second
)

func TestTrials(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Trials")
}

var (
	lifetime, endLifetime = context.WithCancel(context.Background())

	folder    string // of programs and logs
	user      client.Client
	operator  *process.Process
	scheduler *process.Process
	network   *link
	questions pb.SchedulerClient // asks the scheduler past the network
)

var _ = BeforeSuite(func() {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	DeferCleanup(endLifetime)
	folder = GinkgoT().TempDir()
	cluster, err := controlplane.Start(lifetime, controlplane.Options{CRDs: []string{filepath.Join("..", "..", "config", "crd", "bases")}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	user, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	program := func(name string) string {
		path, err := process.Build(lifetime, folder, name)
		Expect(err).NotTo(HaveOccurred())
		return path
	}
	address := "unix:" + filepath.Join(folder, "s")
	scheduler, err = process.New(lifetime, filepath.Join(folder, "scheduler.log"), program("fakescheduler"), nil,
		"--verbose", "--listen", address, "--state", filepath.Join(folder, "state"),
		"--agent-load-delay=50ms", "--agent-unload-delay=50ms", "--worker-delay=20ms")
	Expect(err).NotTo(HaveOccurred())
	Expect(scheduler.Start()).To(Succeed())
	DeferCleanup(scheduler.Kill)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(conn.Close)
	questions = pb.NewSchedulerClient(conn)
	network, err = newLink(filepath.Join(folder, "s"))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(network.close)

	operator, err = process.New(lifetime, filepath.Join(folder, "operator.log"), program("manager"),
		[]string{"KUBECONFIG=" + cluster.KubeconfigPath(), "POD_NAMESPACE=" + operatorNamespace},
		"--namespace="+namespace, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--scheduler-address", network.address())
	Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{operatorNamespace, namespace} {
		Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	config(filepath.Join("seldonconfigs", "default.yaml"), &v1alpha1.SeldonConfig{})
	config(filepath.Join("serverconfigs", "mlserver.yaml"), &v1alpha1.ServerConfig{})
	Expect(operator.Start()).To(Succeed())
	DeferCleanup(operator.Kill)
	Expect(user.Create(lifetime, &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon"},
		Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default", Servers: []v1alpha1.RuntimeServer{
			{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}},
		}},
	})).To(Succeed())
})

func config(file string, object client.Object) {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", file))
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Unmarshal(content, object)).To(Succeed())
	object.SetNamespace(operatorNamespace)
	Expect(user.Create(lifetime, object)).To(Succeed())
}

var _ = Describe("Trials", Ordered, func() {
	JustAfterEach(func() {
		if !CurrentSpecReport().Failed() {
			return
		}
		for _, name := range []string{"operator.log", "scheduler.log"} {
			content, err := os.ReadFile(filepath.Join(folder, name))
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(name, string(content[max(0, len(content)-1<<16):]))
		}
	})

	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		// Drawn here, so that a round is the same whatever became of those before.
		fault, before, after := faults[random.IntN(len(faults))], draw(random), draw(random)
		pause, heal := time.Duration(random.IntN(300))*time.Millisecond, time.Duration(random.IntN(1500))*time.Millisecond
		It(fmt.Sprintf("%d: %s", round, fault.name), func() {
			for _, each := range before {
				By(each.String())
				each.do()
			}
			time.Sleep(pause)
			By(fault.name)
			fault.begin()
			for _, each := range after {
				By(each.String())
				each.do()
			}
			time.Sleep(heal)
			By("healing")
			fault.end()
			Eventually(differences).WithTimeout(settleTimeout).WithPolling(200 * time.Millisecond).Should(BeEmpty())
		})
	}
})

// fault is what goes wrong in a round.
type fault struct {
	name       string
	begin, end func()
}

var faults = []fault{
	{"the operator is killed", func() { operator.Kill() }, func() { Expect(operator.Start()).To(Succeed()) }},
	{"the operator is stopped", func() { operator.Stop() }, func() { Expect(operator.Start()).To(Succeed()) }},
	{"the scheduler is killed", func() { scheduler.Kill() }, func() { Expect(scheduler.Start()).To(Succeed()) }},
	{"the scheduler is stopped", func() { scheduler.Stop() }, func() { Expect(scheduler.Start()).To(Succeed()) }},
	{"both are killed", func() { scheduler.Kill(); operator.Kill() }, func() {
		Expect(operator.Start()).To(Succeed())
		Expect(scheduler.Start()).To(Succeed())
	}},
	{"the network is cut", func() { network.set(linkCut) }, func() { network.set(linkOpen) }},
	{"the network is slow", func() { network.set(linkSlow) }, func() { network.set(linkOpen) }},
	{"the network loses one direction", func() { network.set(linkOneWay) }, func() { network.set(linkOpen) }},
}

// mutation is what a user does to one object.
type mutation struct {
	kind, name string
	verb       string
	variant    int
}

func (m mutation) String() string {
	return fmt.Sprintf("%s %s %s (%d)", m.verb, m.kind, m.name, m.variant)
}

// draw some mutations of a small world, in which names are used again and again.
func draw(random *rand.Rand) []mutation {
	mutations := make([]mutation, 1+random.IntN(5))
	for i := range mutations {
		kind := []string{"Model", "Model", "Pipeline", "Experiment"}[random.IntN(4)]
		mutations[i] = mutation{
			kind: kind, name: fmt.Sprintf("%s-%d", strings.ToLower(kind), random.IntN(3)),
			verb: []string{"put", "put", "delete"}[random.IntN(3)], variant: random.IntN(4),
		}
	}
	return mutations
}

// do does it: put creates the object or changes it.
func (m mutation) do() {
	GinkgoHelper()
	object := m.object()
	if m.verb == "delete" {
		Expect(client.IgnoreNotFound(user.Delete(lifetime, object))).To(Succeed())
		return
	}
	Eventually(func() error {
		live := m.object()
		err := user.Get(lifetime, client.ObjectKeyFromObject(object), live)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil {
			return user.Create(lifetime, m.object())
		}
		if live.GetDeletionTimestamp() != nil {
			return nil // one that goes; it comes back in another round
		}
		changed := live.DeepCopyObject().(client.Object)
		switch changed := changed.(type) {
		case *v1alpha1.Model:
			changed.Spec = object.(*v1alpha1.Model).Spec
		case *v1alpha1.Pipeline:
			changed.Spec = object.(*v1alpha1.Pipeline).Spec
		case *v1alpha1.Experiment:
			changed.Spec = object.(*v1alpha1.Experiment).Spec
		}
		return client.IgnoreNotFound(user.Patch(lifetime, changed, client.MergeFrom(live)))
	}).Should(Succeed())
}

func (m mutation) object() client.Object {
	metadata := metav1.ObjectMeta{Namespace: namespace, Name: m.name}
	one, two := fmt.Sprintf("model-%d", m.variant%3), fmt.Sprintf("model-%d", (m.variant+1)%3)
	switch m.kind {
	case "Model":
		model := &v1alpha1.Model{ObjectMeta: metadata}
		model.Spec.StorageURI = fmt.Sprintf("gs://models/%d", m.variant)
		return model
	case "Pipeline":
		pipeline := &v1alpha1.Pipeline{ObjectMeta: metadata}
		pipeline.Spec.Steps = []v1alpha1.PipelineStep{{Name: one}, {Name: two, Inputs: []string{one}}}
		return pipeline
	default:
		experiment := &v1alpha1.Experiment{ObjectMeta: metadata}
		experiment.Spec.Candidates = []v1alpha1.ExperimentCandidate{{Name: one, Weight: int64(10 + m.variant)}, {Name: two, Weight: 50}}
		return experiment
	}
}

// differences are those between what the cluster wants and says, and what the
// scheduler has and says.
func differences() []string {
	wanted, err := inCluster()
	if err != nil {
		return []string{"ask the API server: " + err.Error()}
	}
	had, details, err := inScheduler()
	if err != nil {
		return []string{"ask the scheduler: " + err.Error()}
	}
	var found []string
	for name, said := range wanted {
		if is, there := had[name]; !there {
			found = append(found, name+" is not in the scheduler")
		} else if said != is {
			found = append(found, fmt.Sprintf("%s is %s in the cluster and %s in the scheduler: %s", name, said, is, details[name]))
		}
	}
	for name := range had {
		if _, there := wanted[name]; !there {
			found = append(found, name+" is in the scheduler, and nobody asks for it")
		}
	}
	slices.Sort(found)
	return found
}

// inCluster gives generation and readiness of every object, by kind and name.
func inCluster() (map[string]string, error) {
	found := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"Model": &v1alpha1.ModelList{}, "Pipeline": &v1alpha1.PipelineList{}, "Experiment": &v1alpha1.ExperimentList{},
	} {
		if err := user.List(lifetime, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(interface {
				client.Object
				GetConditions() []metav1.Condition
				GetObservedGeneration() int64
			})
			said := "of no condition"
			if ready := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady); ready != nil {
				said = describe(object.GetObservedGeneration(), ready.Status == metav1.ConditionTrue)
			}
			if object.GetObservedGeneration() != object.GetGeneration() {
				said = "not observed"
			}
			if object.GetDeletionTimestamp() != nil {
				said = "being deleted"
			}
			found[kind+" "+object.GetName()] = said
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func describe(generation int64, ready bool) string {
	return fmt.Sprintf("of generation %d, ready %t", generation, ready)
}

// inScheduler gives the same of what the scheduler has and was not told to take
// down, and what it says of it.
func inScheduler() (had, details map[string]string, err error) {
	ctx, cancel := context.WithTimeout(lifetime, 5*time.Second)
	defer cancel()
	had, details = map[string]string{}, map[string]string{}
	models, err := questions.ModelStatus(ctx, &pb.ModelStatusRequest{})
	err = each(models, err, func(m *pb.ModelStatusResponse) {
		version := m.GetVersions()[0]
		if !m.GetDeleted() {
			name := "Model " + m.GetModelName()
			had[name] = describe(version.GetKubernetesMeta().GetGeneration(), version.GetState().GetState() == pb.ModelStatus_ModelAvailable)
			details[name] = version.GetState().String()
		}
	})
	if err != nil {
		return nil, nil, err
	}
	pipelines, err := questions.PipelineStatus(ctx, &pb.PipelineStatusRequest{})
	err = each(pipelines, err, func(p *pb.PipelineStatusResponse) {
		version := p.GetVersions()[0]
		state := version.GetState()
		switch state.GetStatus() {
		case pb.PipelineVersionState_PipelineTerminate, pb.PipelineVersionState_PipelineTerminating, pb.PipelineVersionState_PipelineTerminated:
			return
		default:
			name := "Pipeline " + p.GetPipelineName()
			had[name] = describe(version.GetPipeline().GetKubernetesMeta().GetGeneration(), state.GetModelsReady() &&
				state.GetStatus() == pb.PipelineVersionState_PipelineReady && state.GetPipelineGwStatus() == pb.PipelineVersionState_PipelineReady)
			details[name] = state.String()
		}
	})
	if err != nil {
		return nil, nil, err
	}
	experiments, err := questions.ExperimentStatus(ctx, &pb.ExperimentStatusRequest{})
	err = each(experiments, err, func(e *pb.ExperimentStatusResponse) {
		name := "Experiment " + e.GetExperimentName()
		// It lists stopped ones as well, and does not tell them from those that wait
		// for Models; the cluster decides.
		if !e.GetActive() && isGone(ctx, &v1alpha1.Experiment{}, e.GetExperimentName()) {
			return
		}
		had[name] = describe(e.GetKubernetesMeta().GetGeneration(), e.GetActive() && e.GetCandidatesReady() && e.GetMirrorReady())
		details[name] = e.String()
	})
	return had, details, err
}

func isGone(ctx context.Context, object client.Object, name string) bool {
	return client.IgnoreNotFound(user.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)) == nil && object.GetName() == ""
}

func each[M any](stream grpc.ServerStreamingClient[M], err error, do func(*M)) error {
	for err == nil {
		var message *M
		if message, err = stream.Recv(); err == nil {
			do(message)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
