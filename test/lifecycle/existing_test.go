package lifecycle_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// existingManager is the field manager of the upstream operator.
const existingManager = client.FieldOwner("manager")

var (
	fixtures   = filepath.Join("..", "fixtures", "existing")
	valuesUsed = filepath.Join("testdata", "existing")
)

// existing is an installation of the upstream operator.
type existing struct {
	installation
	// created has its CRDs made by kubectl create, as its manifests want it.
	created bool
	// flags of Helm go with each step of the migration.
	flags []string

	scheduler *fakescheduler.Scheduler
	// children are what it made of the runtime and the Server, and running are
	// their pods. Leftovers are none of them.
	children []*unstructured.Unstructured
	running  map[string]string
	// served are a Model, a Pipeline and an Experiment.
	served []client.Object
}

// install lays out the cluster as the upstream operator leaves it: its charts, by
// Helm 3, and what it wrote itself.
func (e *existing) install() {
	GinkgoHelper()
	for _, namespace := range []string{e.operator, e.data} {
		err := user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
	}
	charts := existingCharts()
	installed := releases
	if e.created {
		installed = releases[1:]
		file := filepath.Join(charts, "crds.yaml")
		Expect(os.WriteFile(file, []byte(e.helm("template", crds, filepath.Join(charts, crds))), 0o600)).To(Succeed())
		kubectl("create", "--filename="+file)
	}
	for _, release := range installed {
		arguments := []string{filepath.Join(charts, release), "--server-side=false"}
		if release != crds {
			arguments = append(arguments, "--values", usedValues(release))
		}
		if release == setup {
			for _, value := range e.values {
				arguments = append(arguments, "--set", value)
			}
		}
		e.helm("install", release, arguments...)
		asByHelm3(e.namespaceOf(release), release)
	}

	e.writeBack("seldonruntime.yaml")
	e.writeBack("server-cr.yaml")
	e.children = append(e.makeChildren(e.runtime(), "runtime.yaml"), e.makeChildren(e.server("mlserver"), "server.yaml")...)
	e.serve()
	Eventually(func() int {
		e.running = e.pods()
		return len(e.running)
	}).Should(Equal(8))
	e.makeChildren(e.runtime(), "leftovers.yaml")
	e.makeChildren(e.server("mlserver"), "server-leftovers.yaml")
	// Its leader did not give this back.
	Expect(user.Create(lifetime, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.operator, Name: "e98130ae.seldon.io"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("existing"), LeaseDurationSeconds: new(int32(1)),
			AcquireTime: &metav1.MicroTime{Time: time.Now()}, RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}, existingManager)).To(Succeed())
}

// existingCharts is a folder with its charts, complete.
func existingCharts() string {
	GinkgoHelper()
	charts := GinkgoT().TempDir()
	Expect(os.CopyFS(charts, os.DirFS(valuesUsed))).To(Succeed())
	files := filepath.Join(charts, setup, "files")
	Expect(os.Mkdir(files, 0o700)).To(Succeed())
	for _, configuration := range []string{"seldonconfigs/default", "serverconfigs/mlserver", "serverconfigs/triton"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "config", filepath.FromSlash(configuration)+".yaml"))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(files, filepath.Base(configuration)+".yaml"), text, 0o600)).To(Succeed())
	}
	return charts
}

// usedValues is the file with a release's values.
func usedValues(release string) string {
	return filepath.Join(valuesUsed, strings.TrimPrefix(release, prefix)+".yaml")
}

// asByHelm3 has the record of a release be one of Helm 3, which did not write how
// it applies.
func asByHelm3(namespace, release string) {
	GinkgoHelper()
	record := &corev1.Secret{}
	Expect(user.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: "sh.helm.release.v1." + release + ".v1"}, record)).To(Succeed())
	packed, err := base64.StdEncoding.DecodeString(string(record.Data["release"]))
	Expect(err).NotTo(HaveOccurred())
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	Expect(err).NotTo(HaveOccurred())
	text, err := io.ReadAll(reader)
	Expect(err).NotTo(HaveOccurred())
	content := map[string]any{}
	Expect(json.Unmarshal(text, &content)).To(Succeed())
	Expect(content).To(HaveKeyWithValue("apply_method", "csa"))
	delete(content, "apply_method")
	text, err = json.Marshal(content)
	Expect(err).NotTo(HaveOccurred())
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, err = writer.Write(text)
	Expect(err).NotTo(HaveOccurred())
	Expect(writer.Close()).To(Succeed())
	record.Data["release"] = []byte(base64.StdEncoding.EncodeToString(buffer.Bytes()))
	Expect(user.Update(lifetime, record)).To(Succeed())
}

// writeBack has the upstream operator write what Helm made: with its finalizer, the
// empty sections that its types have, and status. Labels and annotations are those
// of a user.
func (e *existing) writeBack(file string) {
	GinkgoHelper()
	written := e.fixture(file)[0]
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(written.GroupVersionKind())
	Expect(user.Get(lifetime, client.ObjectKeyFromObject(written), live)).To(Succeed())
	before := live.DeepCopy()
	for _, key := range []string{"labels", "annotations"} {
		values, _, err := unstructured.NestedStringMap(live.Object, "metadata", key)
		Expect(err).NotTo(HaveOccurred())
		further, _, err := unstructured.NestedStringMap(written.Object, "metadata", key)
		Expect(err).NotTo(HaveOccurred())
		for name, value := range further {
			if values[name] == "" {
				Expect(unstructured.SetNestedField(live.Object, value, "metadata", key, name)).To(Succeed())
			}
		}
	}
	Expect(user.Patch(lifetime, live, client.MergeFrom(before), client.FieldOwner("kubectl-label"))).To(Succeed())
	live.SetFinalizers(written.GetFinalizers())
	if config, has, _ := unstructured.NestedMap(written.Object, "spec", "config"); has {
		Expect(unstructured.SetNestedMap(live.Object, config, "spec", "config")).To(Succeed())
	}
	Expect(user.Update(lifetime, live, existingManager)).To(Succeed())
	e.writeStatus(live, written.Object["status"])
}

func (e *existing) writeStatus(object *unstructured.Unstructured, status any) {
	GinkgoHelper()
	object.Object["status"] = status
	Expect(user.Status().Update(lifetime, object, existingManager)).To(Succeed())
}

// fixture reads a file with objects, and has them be in the namespace of the data
// plane.
func (e *existing) fixture(file string) (found []*unstructured.Unstructured) {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join(fixtures, file))
	Expect(err).NotTo(HaveOccurred())
	text = bytes.ReplaceAll(text, []byte("namespace: seldon-mesh"), []byte("namespace: "+e.data))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 1<<12)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		Expect(err).NotTo(HaveOccurred())
		object.SetNamespace(e.data)
		found = append(found, object)
	}
}

func (e *existing) makeChildren(owner client.Object, file string) (made []*unstructured.Unstructured) {
	GinkgoHelper()
	Expect(user.Get(lifetime, client.ObjectKeyFromObject(owner), owner)).To(Succeed())
	kind, err := user.GroupVersionKindFor(owner)
	Expect(err).NotTo(HaveOccurred())
	for _, object := range e.fixture(file) {
		object.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)})
		made = append(made, object.DeepCopy())
		Expect(user.Create(lifetime, object, existingManager)).To(Succeed())
	}
	return made
}

// serve makes a Model, a Pipeline and an Experiment as a user does, and then does
// with them what the upstream operator does: put its finalizer, load, tell.
func (e *existing) serve() {
	GinkgoHelper()
	e.scheduler = startScheduler(e.data)
	connection, err := grpc.NewClient(e.scheduler.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(connection.Close)
	rpc := pb.NewSchedulerClient(connection)

	server := e.server("mlserver")
	Expect(user.Get(lifetime, client.ObjectKeyFromObject(server), server)).To(Succeed())
	notice, err := relay.ServerMessage(server, nil)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.ServerNotify(lifetime, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{notice}, IsFirstSync: true})
	Expect(err).NotTo(HaveOccurred())

	model := e.model()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: e.data, Name: "flow"}, Spec: v1alpha1.PipelineSpec{
		Steps: []v1alpha1.PipelineStep{{Name: model.Name}}, Output: &v1alpha1.PipelineOutput{Steps: []string{model.Name}},
	}}
	experiment := &v1alpha1.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: e.data, Name: "split"}, Spec: v1alpha1.ExperimentSpec{
		Default: &model.Name, Candidates: []v1alpha1.ExperimentCandidate{{Name: model.Name, Weight: 100}},
	}}
	e.served = []client.Object{model, pipeline, experiment}
	for object, finalizer := range map[client.Object]string{
		model: v1alpha1.ModelFinalizer, pipeline: v1alpha1.PipelineFinalizer, experiment: v1alpha1.ExperimentFinalizer,
	} {
		Expect(user.Create(lifetime, object, client.FieldOwner("kubectl-client-side-apply"))).To(Succeed())
		object.SetFinalizers([]string{finalizer})
		Expect(user.Update(lifetime, object, existingManager)).To(Succeed())
		e.writeServed(object)
	}
	message, err := relay.ModelMessage(model)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.LoadModel(lifetime, &pb.LoadModelRequest{Model: message})
	Expect(err).NotTo(HaveOccurred())
	flow, err := relay.PipelineMessage(pipeline)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.LoadPipeline(lifetime, &pb.LoadPipelineRequest{Pipeline: flow})
	Expect(err).NotTo(HaveOccurred())
	split, err := relay.ExperimentMessage(experiment)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.StartExperiment(lifetime, &pb.StartExperimentRequest{Experiment: split})
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() int { return int(e.scheduler.Models()[0].Available) }).Should(Equal(1))
}

// writeServed writes the status of what is served in the upstream operator's shape:
// sentences for reasons, and no generation.
func (e *existing) writeServed(object client.Object) {
	GinkgoHelper()
	kind, err := user.GroupVersionKindFor(object)
	Expect(err).NotTo(HaveOccurred())
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(kind)
	Expect(user.Get(lifetime, client.ObjectKeyFromObject(object), live)).To(Succeed())
	condition := func(name string, further ...string) any {
		made := map[string]any{"type": name, "status": "True", "lastTransitionTime": "2025-11-03T08:15:02Z"}
		for i := 0; i < len(further); i += 2 {
			made[further[i]] = further[i+1]
		}
		return made
	}
	status := map[string]any{}
	switch object.(type) {
	case *v1alpha1.Model:
		status = map[string]any{"modelgwReady": "ModelAvailable", "replicas": int64(1), "availableReplicas": int64(1), "selector": "server=mlserver"}
		status["conditions"] = []any{condition("ModelReady", "message", "ModelAvailable"), condition("Ready", "message", "ModelAvailable")}
	case *v1alpha1.Pipeline:
		status["conditions"] = []any{
			condition("ModelsReady", "message", "Models all available"),
			condition("PipelineGwReady", "reason", "PipelineReady", "message", "Empty reason | created pipeline"),
			condition("PipelineReady", "reason", "PipelineReady", "message", "Empty reason | created pipeline"), condition("Ready"),
		}
	case *v1alpha1.Experiment:
		status["conditions"] = []any{
			condition("CandidatesReady", "reason", "Candidates ready"), condition("ExperimentReady", "reason", "experiment active"),
			condition("MirrorReady", "reason", "Mirror ready"), condition("Ready"),
		}
	}
	e.writeStatus(live, status)
}
