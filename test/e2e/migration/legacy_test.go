package migration_test

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
	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

// legacyManager is the field manager of the upstream operator.
const legacyManager = client.FieldOwner("manager")

// legacyFiles has the upstream operator's charts, and values files in use.
var legacyFiles = filepath.Join("testdata", "legacy")

// ownerFiles have the SeldonRuntime and the Server as the upstream operator writes them.
var ownerFiles = []string{"seldonruntime.yaml", "server-cr.yaml"}

// legacyInstallation is an installation of the upstream operator, to be migrated.
type legacyInstallation struct {
	installation.Installation
	// crdsByKubectl creates the CRDs with kubectl create instead of Helm, as the
	// upstream operator's manifests require.
	crdsByKubectl bool
	// helmFlags are the flags of each helm upgrade of the migration.
	helmFlags []string

	// The rest is set by install.

	scheduler *fakescheduler.Scheduler
	// children are the children of the runtime and the Server, without orphans.
	children []*unstructured.Unstructured
	// pods are the pods of children: Pod/name to UID.
	pods map[string]string
	// resources are a Model, a Pipeline and an Experiment.
	resources []client.Object
}

// install creates the state that the upstream operator leaves: the objects of its
// charts, as releases of Helm 3, and the objects that it creates itself. The values
// are those of its setup chart.
func (l *legacyInstallation) install(values []string) {
	GinkgoHelper()
	l.CreateNamespaces()
	charts := legacyCharts()
	installed := installation.Releases
	if l.crdsByKubectl {
		installed = installation.Releases[1:]
		file := filepath.Join(charts, "crds.yaml")
		Expect(os.WriteFile(file, []byte(l.HelmRelease("template", installation.CRDs, filepath.Join(charts, installation.CRDs))), 0o600)).To(Succeed())
		env.Kubectl("create", "--filename="+file)
	}
	for _, release := range installed {
		arguments := []string{filepath.Join(charts, release), "--server-side=false"}
		if release != installation.CRDs {
			arguments = append(arguments, "--values", valuesFile(release))
		}
		if release == installation.Setup {
			for _, value := range values {
				arguments = append(arguments, "--set", value)
			}
		}
		l.HelmRelease("install", release, arguments...)
		asHelm3Release(l.Namespace(release), release)
	}

	for _, file := range ownerFiles {
		l.simulateLegacyWrite(file)
	}
	l.children = append(l.createChildren(l.Runtime(), "runtime.yaml"), l.createChildren(l.Server("mlserver"), "server.yaml")...)
	l.createResources()
	Eventually(func() int {
		l.pods = l.DataPlanePods()
		return len(l.pods)
	}).Should(Equal(8))
	l.createChildren(l.Runtime(), "orphans.yaml")
	l.createChildren(l.Server("mlserver"), "server-orphans.yaml")
	// The leader did not release the lease.
	Expect(env.Client.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.OperatorNamespace, Name: "e98130ae.seldon.io"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("upstream"), LeaseDurationSeconds: new(int32(1)),
			AcquireTime: &metav1.MicroTime{Time: time.Now()}, RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}, legacyManager)).To(Succeed())
}

// legacyCharts returns a directory with the upstream operator's charts. The
// configurations are those of config/.
func legacyCharts() string {
	GinkgoHelper()
	charts := GinkgoT().TempDir()
	Expect(os.CopyFS(charts, os.DirFS(legacyFiles))).To(Succeed())
	files := filepath.Join(charts, installation.Setup, "files")
	Expect(os.Mkdir(files, 0o700)).To(Succeed())
	for _, configuration := range []string{"seldonconfigs/default", "serverconfigs/mlserver", "serverconfigs/triton"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "config", filepath.FromSlash(configuration)+".yaml"))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(files, filepath.Base(configuration)+".yaml"), text, 0o600)).To(Succeed())
	}
	return charts
}

// valuesFile returns the file with the values of a release.
func valuesFile(release string) string {
	return filepath.Join(legacyFiles, strings.TrimPrefix(release, installation.ChartPrefix)+".yaml")
}

// asHelm3Release changes the record of a release to one of Helm 3, which does not
// store the method of apply.
func asHelm3Release(namespace, release string) {
	GinkgoHelper()
	record := &corev1.Secret{}
	Expect(env.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "sh.helm.release.v1." + release + ".v1"}, record)).To(Succeed())
	encoded, err := base64.StdEncoding.DecodeString(string(record.Data["release"]))
	Expect(err).NotTo(HaveOccurred())
	reader, err := gzip.NewReader(bytes.NewReader(encoded))
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
	Expect(env.Client.Update(ctx, record)).To(Succeed())
}

// simulateLegacyWrite updates an object that Helm created as the upstream operator
// does: with its finalizer, the empty sections that its types have, and its status.
// Labels and annotations of the file are added as a user's.
func (l *legacyInstallation) simulateLegacyWrite(file string) {
	GinkgoHelper()
	written := l.readObjects(file)[0]
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(written.GroupVersionKind())
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(written), live)).To(Succeed())
	before := live.DeepCopy()
	for _, key := range []string{"labels", "annotations"} {
		values, _, err := unstructured.NestedStringMap(live.Object, "metadata", key)
		Expect(err).NotTo(HaveOccurred())
		added, _, err := unstructured.NestedStringMap(written.Object, "metadata", key)
		Expect(err).NotTo(HaveOccurred())
		for name, value := range added {
			if values[name] == "" {
				Expect(unstructured.SetNestedField(live.Object, value, "metadata", key, name)).To(Succeed())
			}
		}
	}
	Expect(env.Client.Patch(ctx, live, client.MergeFrom(before), client.FieldOwner("kubectl-label"))).To(Succeed())
	live.SetFinalizers(written.GetFinalizers())
	if config, has, _ := unstructured.NestedMap(written.Object, "spec", "config"); has {
		Expect(unstructured.SetNestedMap(live.Object, config, "spec", "config")).To(Succeed())
	}
	Expect(env.Client.Update(ctx, live, legacyManager)).To(Succeed())
	l.writeStatus(live, written.Object["status"])
}

// writeStatus writes the status of an object as the upstream operator does.
func (l *legacyInstallation) writeStatus(object *unstructured.Unstructured, status any) {
	GinkgoHelper()
	object.Object["status"] = status
	Expect(env.Client.Status().Update(ctx, object, legacyManager)).To(Succeed())
}

// readObjects reads the objects of a file, with the namespace of the data plane.
func (l *legacyInstallation) readObjects(file string) (found []*unstructured.Unstructured) {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "controllers", "testdata", "legacy", file))
	Expect(err).NotTo(HaveOccurred())
	text = bytes.ReplaceAll(text, []byte("namespace: seldon-mesh"), []byte("namespace: "+l.DataNamespace))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 1<<12)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		Expect(err).NotTo(HaveOccurred())
		object.SetNamespace(l.DataNamespace)
		found = append(found, object)
	}
}

// createChildren creates the objects of a file as children of an owner, and returns
// them as they are in the file.
func (l *legacyInstallation) createChildren(owner client.Object, file string) (children []*unstructured.Unstructured) {
	GinkgoHelper()
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(owner), owner)).To(Succeed())
	kind, err := env.Client.GroupVersionKindFor(owner)
	Expect(err).NotTo(HaveOccurred())
	for _, object := range l.readObjects(file) {
		object.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)})
		children = append(children, object.DeepCopy())
		Expect(env.Client.Create(ctx, object, legacyManager)).To(Succeed())
	}
	return children
}

// createResources starts the scheduler, creates a Model, a Pipeline and an Experiment
// as a user does, and then does what the upstream operator does: add its finalizer,
// load, write the status.
func (l *legacyInstallation) createResources() {
	GinkgoHelper()
	l.scheduler = env.StartScheduler(l.DataNamespace)
	connection, err := grpc.NewClient(l.scheduler.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(connection.Close)
	rpc := pb.NewSchedulerClient(connection)

	server := l.Server("mlserver")
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(server), server)).To(Succeed())
	serverMessage, err := relay.ServerMessage(server, nil)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.ServerNotify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{serverMessage}, IsFirstSync: true})
	Expect(err).NotTo(HaveOccurred())

	model := l.Model()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: l.DataNamespace, Name: "flow"}, Spec: v1alpha1.PipelineSpec{
		Steps: []v1alpha1.PipelineStep{{Name: model.Name}}, Output: &v1alpha1.PipelineOutput{Steps: []string{model.Name}},
	}}
	experiment := &v1alpha1.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: l.DataNamespace, Name: "split"}, Spec: v1alpha1.ExperimentSpec{
		Default: &model.Name, Candidates: []v1alpha1.ExperimentCandidate{{Name: model.Name, Weight: 100}},
	}}
	l.resources = []client.Object{model, pipeline, experiment}
	for object, finalizer := range map[client.Object]string{
		model: v1alpha1.ModelFinalizer, pipeline: v1alpha1.PipelineFinalizer, experiment: v1alpha1.ExperimentFinalizer,
	} {
		Expect(env.Client.Create(ctx, object, client.FieldOwner("kubectl-client-side-apply"))).To(Succeed())
		object.SetFinalizers([]string{finalizer})
		Expect(env.Client.Update(ctx, object, legacyManager)).To(Succeed())
		l.writeResourceStatus(object)
	}
	modelMessage, err := relay.ModelMessage(model)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.LoadModel(ctx, &pb.LoadModelRequest{Model: modelMessage})
	Expect(err).NotTo(HaveOccurred())
	pipelineMessage, err := relay.PipelineMessage(pipeline)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.LoadPipeline(ctx, &pb.LoadPipelineRequest{Pipeline: pipelineMessage})
	Expect(err).NotTo(HaveOccurred())
	experimentMessage, err := relay.ExperimentMessage(experiment)
	Expect(err).NotTo(HaveOccurred())
	_, err = rpc.StartExperiment(ctx, &pb.StartExperimentRequest{Experiment: experimentMessage})
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() int { return int(l.scheduler.Models()[0].Available) }).Should(Equal(1))
}

// writeResourceStatus writes the status of a Model, Pipeline or Experiment in the
// upstream operator's format: sentences as reasons, and no observedGeneration.
func (l *legacyInstallation) writeResourceStatus(object client.Object) {
	GinkgoHelper()
	kind, err := env.Client.GroupVersionKindFor(object)
	Expect(err).NotTo(HaveOccurred())
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(kind)
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(object), live)).To(Succeed())
	// condition returns a True condition with more fields, given as key, value, …
	condition := func(name string, fields ...string) any {
		condition := map[string]any{"type": name, "status": "True", "lastTransitionTime": "2025-11-03T08:15:02Z"}
		for i := 0; i < len(fields); i += 2 {
			condition[fields[i]] = fields[i+1]
		}
		return condition
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
	l.writeStatus(live, status)
}

// overwrite updates a child as the upstream operator does: with the whole object.
func (l *legacyInstallation) overwrite(child *unstructured.Unstructured) {
	GinkgoHelper()
	live := child.DeepCopy()
	Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(child), live)).To(Succeed())
	written := child.DeepCopy()
	written.SetResourceVersion(live.GetResourceVersion())
	Expect(env.Client.Update(ctx, written, legacyManager)).To(Succeed())
}
