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

// run runs kubectl as an administrator, with what it reads.
func run(input string, arguments ...string) {
	GinkgoHelper()
	command := exec.CommandContext(lifetime, kubectl, append([]string{"--kubeconfig", cluster.KubeconfigPath()}, arguments...)...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(arguments, " "), output)
}

// newScheduler starts the simulated scheduler of a namespace. TLS is nil for plain
// text.
func newScheduler(namespace string, tls *tls.Config) *fakescheduler.Scheduler {
	GinkgoHelper()
	started, err := fakescheduler.Start(lifetime, fakescheduler.Options{Address: schedulerAddress(namespace), TLS: tls})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(started.Stop)
	return started
}

// ownerLabel is on every child.
const ownerLabel = "mlops.seldon.io/owner-kind"

// ready tells an object's condition Ready.
func ready(object status.Object) func() string {
	return func() string { return status.Ready(lifetime, user, object) }
}

// edit changes an object as a user would, against conflicts.
func edit[T client.Object](object T, change func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := user.Get(lifetime, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		before := object.DeepCopyObject().(client.Object)
		change(object)
		return user.Patch(lifetime, object, client.MergeFrom(before))
	}).Should(Succeed())
}

func remove(object client.Object) {
	GinkgoHelper()
	Expect(user.Delete(lifetime, object)).To(Succeed())
}

func untilGone(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Eventually(func() bool {
			return apierrors.IsNotFound(user.Get(lifetime, client.ObjectKeyFromObject(object), object))
		}).Should(BeTrue(), func() string { return fmt.Sprintf("%T %s stays", object, object.GetName()) })
	}
}

func metadata(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// What tests make in a namespace.

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
	Expect(user.Create(lifetime, runtime)).To(Succeed())
	return runtime
}

func newModel(namespace, name string) *v1alpha1.Model {
	GinkgoHelper()
	model := &v1alpha1.Model{ObjectMeta: metadata(namespace, name)}
	model.Spec.StorageURI = "gs://models/" + name
	Expect(user.Create(lifetime, model)).To(Succeed())
	return model
}

func newPipeline(namespace, name, model string) *v1alpha1.Pipeline {
	GinkgoHelper()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metadata(namespace, name), Spec: v1alpha1.PipelineSpec{
		Steps:  []v1alpha1.PipelineStep{{Name: model}},
		Output: &v1alpha1.PipelineOutput{Steps: []string{model}},
	}}
	Expect(user.Create(lifetime, pipeline)).To(Succeed())
	return pipeline
}

func newExperiment(namespace, name, model string) *v1alpha1.Experiment {
	GinkgoHelper()
	experiment := &v1alpha1.Experiment{ObjectMeta: metadata(namespace, name), Spec: v1alpha1.ExperimentSpec{
		Default: new(model), Candidates: []v1alpha1.ExperimentCandidate{{Name: model, Weight: 100}},
	}}
	Expect(user.Create(lifetime, experiment)).To(Succeed())
	return experiment
}

// live goes through the life of a runtime, so that everything is done that an
// operator does.
func (i *install) live() {
	GinkgoHelper()
	namespace := i.home
	scheduler := newScheduler(namespace, i.tls)

	By("bring-up")
	runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
		r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyCascade
		r.Spec.DisableAutoUpdate = true // keeps its configuration in a ControllerRevision
	})
	server := &v1alpha1.Server{ObjectMeta: metadata(namespace, "mlserver")}
	model := newModel(namespace, "one")
	pipeline, experiment := newPipeline(namespace, "pipeline", "one"), newExperiment(namespace, "experiment", "one")
	for _, each := range []status.Object{runtime, server, model, pipeline, experiment} {
		Eventually(ready(each)).Should(HavePrefix("True"), i.log)
	}

	By("drift, twice, so that its Event is a series: first within what the operator watches, then out of its sight")
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
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(child), child)).To(Succeed())
			labels := child.GetLabels()
			Expect(labels).To(HaveKey(ownerLabel))
			edit(child, drift)
			Eventually(func() map[string]string {
				Expect(user.Get(lifetime, client.ObjectKeyFromObject(child), child)).To(Succeed())
				return child.GetLabels()
			}).Should(Equal(labels), "%T %s", child, child.GetName())
		}
	}

	By("update: configuration, workloads, claims")
	edit(runtime, func(r *v1alpha1.SeldonRuntime) {
		r.Spec.DisableAutoUpdate = false
		r.Spec.Config.KafkaConfig.BootstrapServers = new("another:9092")
		r.Spec.Overrides = []v1alpha1.OverrideSpec{
			{Name: "hodometer", Disable: true},
			{Name: "seldon-envoy", Replicas: new(int64(2))},
		}
	})
	hodometer := metadata(namespace, "hodometer")
	untilGone(&appsv1.Deployment{ObjectMeta: hodometer}, &corev1.ServiceAccount{ObjectMeta: hodometer},
		&rbacv1.Role{ObjectMeta: metadata(namespace, "hodometer-role")}, &rbacv1.RoleBinding{ObjectMeta: metadata(namespace, "hodometer-rolebinding")})
	config := &v1alpha1.ServerConfig{ObjectMeta: metadata(i.namespace, "mlserver")}
	edit(config, func(c *v1alpha1.ServerConfig) {
		size := c.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
		size.Add(resource.MustParse("1Gi"))
		c.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage] = size
	})
	Eventually(func() string {
		claim, set := &corev1.PersistentVolumeClaim{}, &appsv1.StatefulSet{}
		if user.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: "mlserver-models-mlserver-0"}, claim) != nil ||
			user.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: "mlserver"}, set) != nil {
			return ""
		}
		return claim.Spec.Resources.Requests.Storage().String() + " " + set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
	}).Should(Equal(config.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() + " " +
		config.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()))

	By("scaling")
	Eventually(ready(server)).Should(HavePrefix("True"))
	// Again and again: a request is for the generation that the scheduler knows.
	Eventually(func() int32 {
		Expect(scheduler.RequestScaling("mlserver", 2)).To(Succeed())
		set := &appsv1.StatefulSet{}
		if user.Get(lifetime, client.ObjectKeyFromObject(server), set) != nil {
			return -1
		}
		return *set.Spec.Replicas
	}).Should(BeEquivalentTo(2))
	Eventually(ready(server)).Should(HavePrefix("True"))

	By("deletion of what is served, while the scheduler is away and while it is there")
	scheduler.Kill()
	mark := len(requestsOf(i.namespace))
	remove(experiment)
	Eventually(func() bool { return usedSince(i.namespace, mark)[right{"", "namespaces", "get"}] }).Should(BeTrue(), "it asks whether the namespace goes")
	Expect(scheduler.Restart(fakescheduler.RestartOptions{})).To(Succeed())
	untilGone(experiment)
	remove(pipeline)
	untilGone(pipeline)

	By("what the scheduler has and nobody asks for")
	model, pipeline, experiment = newModel(namespace, "two"), newPipeline(namespace, "lost", "two"), newExperiment(namespace, "lost", "two")
	relayed := []status.Object{experiment, pipeline, model}
	for _, each := range relayed {
		Eventually(ready(each)).Should(HavePrefix("True"))
	}
	scheduler.Kill()
	for _, each := range relayed {
		remove(each)
		edit(each, func(each status.Object) { each.SetFinalizers(nil) })
		untilGone(each)
	}
	mark = len(requestsOf(i.namespace))
	Expect(scheduler.Restart(fakescheduler.RestartOptions{})).To(Succeed())
	for _, resource := range []string{"models", "pipelines", "experiments"} {
		Eventually(func() bool { return usedSince(i.namespace, mark)[right{"mlops.seldon.io", resource, "get"}] }).Should(BeTrue(), resource)
	}

	By("deletion of the runtime, with all that is served, in cascade")
	model = &v1alpha1.Model{ObjectMeta: metadata(namespace, "one")}
	pipeline, experiment = newPipeline(namespace, "pipeline", "one"), newExperiment(namespace, "experiment", "one")
	own := &v1alpha1.Server{ObjectMeta: metadata(namespace, "own"), Spec: v1alpha1.ServerSpec{ServerConfig: "triton"}}
	Expect(user.Create(lifetime, own)).To(Succeed())
	for _, each := range []status.Object{pipeline, experiment, own} {
		Eventually(ready(each)).Should(HavePrefix("True"))
	}
	lists := []client.ObjectList{&appsv1.StatefulSetList{}, &rbacv1.RoleList{}}
	labelled := func(list client.ObjectList) int {
		GinkgoHelper()
		Expect(user.List(lifetime, list, client.InNamespace(namespace), client.HasLabels{ownerLabel})).To(Succeed())
		return meta.LenList(list)
	}
	for _, list := range lists {
		Expect(labelled(list)).NotTo(BeZero())
	}
	remove(runtime)
	untilGone(experiment, pipeline, model, own, server, runtime)
	for _, list := range lists {
		Eventually(func() int { return labelled(list) }).Should(BeZero())
	}
	scheduler.Stop()
}
