package install_test

import (
	"crypto/tls"
	"fmt"
	"os/exec"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// run runs kubectl as an administrator with input on its standard input.
func run(input string, arguments ...string) {
	GinkgoHelper()
	command := exec.CommandContext(ctx, kubectl, append([]string{"--kubeconfig", cluster.KubeconfigPath()}, arguments...)...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(arguments, " "), output)
}

// newScheduler starts the simulated scheduler of a namespace. If tls is nil, it serves
// plain text.
func newScheduler(namespace string, tls *tls.Config) *fakescheduler.Scheduler {
	GinkgoHelper()
	started, err := fakescheduler.Start(ctx, fakescheduler.Options{Address: schedulerAddress(namespace), TLS: tls})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(started.Stop)
	return started
}

// ownerLabel is a label of every child.
const ownerLabel = "mlops.seldon.io/owner-kind"

// ready returns a function that gets an object and returns its condition Ready, as
// status.Ready does.
func ready(object status.Object) func() string {
	return func() string { return status.Ready(ctx, k8sClient, object) }
}

// edit patches an object as a user would, and retries until the patch succeeds.
func edit[T client.Object](object T, change func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := k8sClient.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		before := object.DeepCopyObject().(client.Object)
		change(object)
		return k8sClient.Patch(ctx, object, client.MergeFrom(before))
	}).Should(Succeed())
}

func deleteObject(object client.Object) {
	GinkgoHelper()
	Expect(k8sClient.Delete(ctx, object)).To(Succeed())
}

func awaitDeleted(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Eventually(func() bool {
			return apierrors.IsNotFound(k8sClient.Get(ctx, client.ObjectKeyFromObject(object), object))
		}).Should(BeTrue(), func() string { return fmt.Sprintf("%T %s still exists", object, object.GetName()) })
	}
}

func metadata(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// The functions below create an object and return it.

func newRuntime(namespace string, change ...func(*v1alpha1.SeldonRuntime)) *v1alpha1.SeldonRuntime {
	GinkgoHelper()
	runtime := &v1alpha1.SeldonRuntime{ObjectMeta: metadata(namespace, "seldon"), Spec: v1alpha1.SeldonRuntimeSpec{
		SeldonConfig: "default",
		Servers: []v1alpha1.RuntimeServer{{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{
			ServerConfig: "mlserver", ScalingSpec: v1alpha1.ScalingSpec{MinReplicas: new(int64(1)), MaxReplicas: new(int64(3))},
		}}},
	}}
	for _, change := range change {
		change(runtime)
	}
	Expect(k8sClient.Create(ctx, runtime)).To(Succeed())
	return runtime
}

func newModel(namespace, name string) *v1alpha1.Model {
	GinkgoHelper()
	model := &v1alpha1.Model{ObjectMeta: metadata(namespace, name)}
	model.Spec.StorageURI = "gs://models/" + name
	Expect(k8sClient.Create(ctx, model)).To(Succeed())
	return model
}

func newPipeline(namespace, name, model string) *v1alpha1.Pipeline {
	GinkgoHelper()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metadata(namespace, name), Spec: v1alpha1.PipelineSpec{
		Steps:  []v1alpha1.PipelineStep{{Name: model}},
		Output: &v1alpha1.PipelineOutput{Steps: []string{model}},
	}}
	Expect(k8sClient.Create(ctx, pipeline)).To(Succeed())
	return pipeline
}

func newExperiment(namespace, name, model string) *v1alpha1.Experiment {
	GinkgoHelper()
	experiment := &v1alpha1.Experiment{ObjectMeta: metadata(namespace, name), Spec: v1alpha1.ExperimentSpec{
		Default: new(model), Candidates: []v1alpha1.ExperimentCandidate{{Name: model, Weight: 100}},
	}}
	Expect(k8sClient.Create(ctx, experiment)).To(Succeed())
	return experiment
}

// runLifecycle takes a runtime from creation to deletion, so that the operator does
// everything that needs a permission.
func (i *install) runLifecycle() {
	GinkgoHelper()
	namespace := i.workloadNamespace
	scheduler := newScheduler(namespace, i.tls)

	By("creating everything")
	runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
		r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyCascade
		r.Spec.DisableAutoUpdate = true // pins its configuration in a ControllerRevision
	})
	server := &v1alpha1.Server{ObjectMeta: metadata(namespace, "mlserver")}
	model := newModel(namespace, "one")
	pipeline, experiment := newPipeline(namespace, "pipeline", "one"), newExperiment(namespace, "experiment", "one")
	for _, each := range []status.Object{runtime, server, model, pipeline, experiment} {
		Eventually(ready(each)).Should(HavePrefix("True"), i.log)
	}

	By("reverting drift, twice, so that its Event is a series: first of objects that the operator still watches, then of objects without its label")
	children := []client.Object{
		&corev1.ConfigMap{ObjectMeta: metadata(namespace, "seldon-agent")},
		&corev1.ServiceAccount{ObjectMeta: metadata(namespace, "seldon-server")},
		&rbacv1.Role{ObjectMeta: metadata(namespace, "agent-role")},
		&rbacv1.RoleBinding{ObjectMeta: metadata(namespace, "agent-rolebinding")},
		&corev1.Service{ObjectMeta: metadata(namespace, "seldon-mesh")},
	}
	for _, drift := range []func(client.Object){
		func(child client.Object) { child.GetLabels()[ownerLabel] = "another" },
		func(child client.Object) { child.SetLabels(nil) },
	} {
		for _, child := range children {
			Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(child), child)).To(Succeed())
			labels := child.GetLabels()
			Expect(labels).To(HaveKey(ownerLabel))
			edit(child, drift)
			Eventually(func() map[string]string {
				Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(child), child)).To(Succeed())
				return child.GetLabels()
			}).Should(Equal(labels), "%T %s", child, child.GetName())
		}
	}

	By("updating configuration, workloads and volume claims")
	edit(runtime, func(r *v1alpha1.SeldonRuntime) {
		r.Spec.DisableAutoUpdate = false
		r.Spec.Config.KafkaConfig.BootstrapServers = new("another:9092")
		r.Spec.Overrides = []v1alpha1.OverrideSpec{
			{Name: "hodometer", Disable: true},
			{Name: "seldon-envoy", Replicas: new(int64(2))},
		}
	})
	hodometer := metadata(namespace, "hodometer")
	awaitDeleted(&appsv1.Deployment{ObjectMeta: hodometer}, &corev1.ServiceAccount{ObjectMeta: hodometer},
		&rbacv1.Role{ObjectMeta: metadata(namespace, "hodometer-role")}, &rbacv1.RoleBinding{ObjectMeta: metadata(namespace, "hodometer-rolebinding")})
	config := &v1alpha1.ServerConfig{ObjectMeta: metadata(i.namespace, "mlserver")}
	edit(config, func(c *v1alpha1.ServerConfig) {
		size := c.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
		size.Add(resource.MustParse("1Gi"))
		c.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage] = size
	})
	Eventually(func() string {
		claim, set := &corev1.PersistentVolumeClaim{}, &appsv1.StatefulSet{}
		if k8sClient.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "mlserver-models-mlserver-0"}, claim) != nil ||
			k8sClient.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "mlserver"}, set) != nil {
			return ""
		}
		return claim.Spec.Resources.Requests.Storage().String() + " " + set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
	}).Should(Equal(config.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() + " " +
		config.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()))

	By("scaling")
	Eventually(ready(server)).Should(HavePrefix("True"))
	// Repeated, since a request has the generation that the scheduler knows at that time.
	Eventually(func() int32 {
		Expect(scheduler.RequestScaling("mlserver", 2)).To(Succeed())
		set := &appsv1.StatefulSet{}
		if k8sClient.Get(ctx, client.ObjectKeyFromObject(server), set) != nil {
			return -1
		}
		return *set.Spec.Replicas
	}).Should(BeEquivalentTo(2))
	Eventually(ready(server)).Should(HavePrefix("True"))

	By("deleting an Experiment and a Pipeline, without and with a running scheduler")
	scheduler.Kill()
	mark := len(requestsOf(i.namespace))
	deleteObject(experiment)
	Eventually(func() bool { return usedSince(i.namespace, mark)[permission{"", "namespaces", "get"}] }).Should(BeTrue(), "it checks whether the namespace is terminating")
	Expect(scheduler.Restart(fakescheduler.RestartOptions{})).To(Succeed())
	awaitDeleted(experiment)
	deleteObject(pipeline)
	awaitDeleted(pipeline)

	By("unloading what is loaded in the scheduler and does not exist in the cluster")
	model, pipeline, experiment = newModel(namespace, "two"), newPipeline(namespace, "lost", "two"), newExperiment(namespace, "lost", "two")
	resources := []status.Object{experiment, pipeline, model}
	for _, each := range resources {
		Eventually(ready(each)).Should(HavePrefix("True"))
	}
	scheduler.Kill()
	for _, each := range resources {
		deleteObject(each)
		edit(each, func(each status.Object) { each.SetFinalizers(nil) })
		awaitDeleted(each)
	}
	mark = len(requestsOf(i.namespace))
	Expect(scheduler.Restart(fakescheduler.RestartOptions{})).To(Succeed())
	for _, resource := range []string{"models", "pipelines", "experiments"} {
		Eventually(func() bool { return usedSince(i.namespace, mark)[permission{"mlops.seldon.io", resource, "get"}] }).Should(BeTrue(), resource)
	}

	By("deleting the runtime with deletionPolicy Cascade")
	model = &v1alpha1.Model{ObjectMeta: metadata(namespace, "one")}
	pipeline, experiment = newPipeline(namespace, "pipeline", "one"), newExperiment(namespace, "experiment", "one")
	userServer := &v1alpha1.Server{ObjectMeta: metadata(namespace, "own"), Spec: v1alpha1.ServerSpec{ServerConfig: "triton"}}
	Expect(k8sClient.Create(ctx, userServer)).To(Succeed())
	for _, each := range []status.Object{pipeline, experiment, userServer} {
		Eventually(ready(each)).Should(HavePrefix("True"))
	}
	lists := []client.ObjectList{&appsv1.StatefulSetList{}, &rbacv1.RoleList{}}
	countChildren := func(list client.ObjectList) int {
		GinkgoHelper()
		Expect(k8sClient.List(ctx, list, client.InNamespace(namespace), client.HasLabels{ownerLabel})).To(Succeed())
		return meta.LenList(list)
	}
	for _, list := range lists {
		Expect(countChildren(list)).NotTo(BeZero())
	}
	deleteObject(runtime)
	awaitDeleted(experiment, pipeline, model, userServer, server, runtime)
	for _, list := range lists {
		Eventually(func() int { return countChildren(list) }).Should(BeZero())
	}
	scheduler.Stop()
}

// serveModel creates a runtime and a Model, and deletes them once they are ready.
func (i *install) serveModel() {
	GinkgoHelper()
	scheduler := newScheduler(i.workloadNamespace, i.tls)
	runtime, model := newRuntime(i.workloadNamespace), newModel(i.workloadNamespace, "one")
	for _, each := range []status.Object{runtime, model} {
		Eventually(ready(each)).Should(HavePrefix("True"), i.log)
	}
	for _, each := range []client.Object{model, runtime} {
		deleteObject(each)
		awaitDeleted(each)
	}
	scheduler.Stop()
}
