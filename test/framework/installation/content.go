package installation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// Content returns the objects in a namespace: Kind/name to UID and resource version.
// It leaves out what Kubernetes creates by itself, Events, and Helm's records. A
// Lease has a UID only, since it is renewed all the time.
func (e *Environment) Content(namespace string) map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	lists, err := e.discovery.ServerPreferredNamespacedResources()
	// A CRD that is being deleted fails the discovery of its group.
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
			items, err := e.metadata.Resource(version.WithResource(kind.Name)).Namespace(namespace).List(e.ctx, metav1.ListOptions{})
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

// Names returns the keys of a Content, sorted.
func Names(content map[string]string) []string { return slices.Sorted(maps.Keys(content)) }

// WithoutOperator removes from a Content the operator's Deployment, its pods, and the
// objects whose labels have the version of its chart. It returns content.
func WithoutOperator(content map[string]string) map[string]string {
	maps.DeleteFunc(content, func(name, _ string) bool { return strings.Contains(name, "/seldon-v2-") })
	return content
}

// Deployment gets a Deployment.
func (e *Environment) Deployment(namespace, name string) *appsv1.Deployment {
	GinkgoHelper()
	found := &appsv1.Deployment{}
	Expect(e.Client.Get(e.ctx, client.ObjectKey{Namespace: namespace, Name: name}, found)).To(Succeed())
	return found
}

// Ready returns a function that gets an object and returns its condition Ready, as
// status.Ready does.
func (e *Environment) Ready(object status.Object) func() string {
	return func() string { return status.Ready(e.ctx, e.Client, object) }
}

// Exists returns a function that gets an object and returns whether it exists.
func (e *Environment) Exists(object client.Object) func() bool {
	return func() bool {
		err := e.Client.Get(e.ctx, client.ObjectKeyFromObject(object), object)
		Expect(client.IgnoreNotFound(err)).To(Succeed())
		return err == nil
	}
}

// AwaitDeleted waits until an object does not exist.
func (e *Environment) AwaitDeleted(object client.Object) {
	GinkgoHelper()
	Eventually(e.Exists(object)).Should(BeFalse(), func() string {
		return fmt.Sprintf("%T %s still exists, with finalizers %v", object, object.GetName(), object.GetFinalizers())
	})
}
