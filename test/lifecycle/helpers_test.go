package lifecycle_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

const (
	prefix    = "seldon-core-v2-"
	crds      = prefix + "crds"
	setup     = prefix + "setup"
	dataPlane = prefix + "runtime"
	servers   = prefix + "servers"
)

// releases are in the order in which they are installed.
var releases = []string{crds, setup, dataPlane, servers}

func chartOf(release string) string { return filepath.Join("..", "..", "charts", release) }

// installation is an operator, and a namespace with a data plane that it watches.
type installation struct {
	operator, data string
	// values are of the setup chart, as of helm --set.
	values []string
}

// namespaceOf is where a release is. The CRDs' is the one of the documentation.
func (i installation) namespaceOf(release string) string {
	switch release {
	case crds:
		return metav1.NamespaceDefault
	case setup:
		return i.operator
	default:
		return i.data
	}
}

// helm runs a command of Helm on a release, whose name is that of its chart.
func (i installation) helm(command, release string, further ...string) string {
	GinkgoHelper()
	return helm(append([]string{command, release, "--namespace", i.namespaceOf(release)}, further...)...)
}

// upgrade brings a release to a chart, which may be a changed one.
func (i installation) upgrade(release, chart string, further ...string) {
	GinkgoHelper()
	arguments := append([]string{"upgrade", release, chart, "--namespace", i.namespaceOf(release)}, further...)
	if release == setup {
		arguments = append(arguments, "--wait")
		for _, value := range i.values {
			arguments = append(arguments, "--set", value)
		}
	}
	helm(arguments...)
}

// install installs everything, with a Model, and returns the scheduler once it is
// ready.
func (i installation) install(ofCRDs ...string) *fakescheduler.Scheduler {
	GinkgoHelper()
	i.helm("upgrade", crds, append([]string{chartOf(crds), "--install"}, ofCRDs...)...)
	untilServed()
	for _, namespace := range []string{i.operator, i.data} {
		err := user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
	}
	scheduler := startScheduler(i.data)
	i.upgrade(setup, chartOf(setup), "--install")
	i.upgrade(dataPlane, chartOf(dataPlane), "--install")
	i.upgrade(servers, chartOf(servers), "--install")
	Expect(user.Create(lifetime, i.model())).To(Succeed())
	i.untilReady()
	return scheduler
}

func (i installation) model() *v1alpha1.Model {
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: i.data, Name: "iris"}}
	model.Spec.StorageURI = "gs://seldon-models/iris"
	return model
}

func (i installation) runtime() *v1alpha1.SeldonRuntime {
	return &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: i.data, Name: "seldon"}}
}

func (i installation) server(name string) *v1alpha1.Server {
	return &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Namespace: i.data, Name: name}}
}

func (i installation) untilReady() {
	GinkgoHelper()
	for _, each := range []status.Object{i.runtime(), i.server("mlserver"), i.server("triton"), i.model()} {
		Eventually(ready(each)).Should(HavePrefix("True"), func() string {
			return fmt.Sprintf("%T %s\n%s", each, each.GetName(), i.log())
		})
	}
}

// log is the end of what the operator printed.
func (i installation) log() string {
	log, err := node.Log(i.operator, operator)
	if err != nil {
		return err.Error()
	}
	return log[max(0, len(log)-1<<13):]
}

func startScheduler(namespace string) *fakescheduler.Scheduler {
	GinkgoHelper()
	started, err := fakescheduler.Start(lifetime, fakescheduler.Options{Address: schedulerAddress(namespace)})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(started.Stop)
	return started
}

// ready tells an object's condition Ready.
func ready(object status.Object) func() string {
	return func() string { return status.Ready(lifetime, user, object) }
}

func exists(object client.Object) func() bool {
	return func() bool {
		err := user.Get(lifetime, client.ObjectKeyFromObject(object), object)
		Expect(client.IgnoreNotFound(err)).To(Succeed())
		return err == nil
	}
}

func untilGone(object client.Object) {
	GinkgoHelper()
	Eventually(exists(object)).Should(BeFalse(), func() string {
		return fmt.Sprintf("%T %s stays, with finalizers %v", object, object.GetName(), object.GetFinalizers())
	})
}

// content is everything in a namespace, as Kind/name, with UID and resource version.
// Left out is what the cluster makes by itself, what tells what happened, and Helm's
// records. The operator's Lease has no version here: it is renewed.
func content(namespace string) map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	lists, err := kinds.ServerPreferredNamespacedResources()
	// Kinds that go meanwhile.
	if !discovery.IsGroupDiscoveryFailedError(err) {
		Expect(err).NotTo(HaveOccurred())
	}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		Expect(err).NotTo(HaveOccurred())
		for _, kind := range list.APIResources {
			if !slices.Contains(kind.Verbs, "list") || slices.Contains([]string{"Event", "Endpoints", "EndpointSlice"}, kind.Kind) {
				continue
			}
			items, err := objects.Resource(version.WithResource(kind.Name)).Namespace(namespace).List(lifetime, metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			Expect(err).NotTo(HaveOccurred())
			for _, item := range items.Items {
				name := kind.Kind + "/" + item.Name
				switch {
				case name == "ConfigMap/kube-root-ca.crt" || name == "ServiceAccount/default" || strings.HasPrefix(name, "Secret/sh.helm.release."):
				case kind.Kind == "Lease":
					found[name] = string(item.UID)
				default:
					found[name] = string(item.UID) + " at " + item.ResourceVersion
				}
			}
		}
	}
	return found
}

func names(of map[string]string) []string { return slices.Sorted(maps.Keys(of)) }

// pods are the data plane's, by UID.
func (i installation) pods() map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	for name, version := range content(i.data) {
		if strings.HasPrefix(name, "Pod/") && !strings.HasPrefix(name, "Pod/"+operator) {
			found[name], _, _ = strings.Cut(version, " ")
		}
	}
	return found
}

func deployment(namespace, name string) *appsv1.Deployment {
	GinkgoHelper()
	found := &appsv1.Deployment{}
	Expect(user.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: name}, found)).To(Succeed())
	return found
}
