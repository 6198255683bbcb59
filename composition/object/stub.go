package object

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// identity is an object less its content: what a plan needs to know of one that
// it leaves alone or deletes.
func Stub(key Ref, object metav1.Object) *unstructured.Unstructured {
	stub := &unstructured.Unstructured{}
	stub.SetGroupVersionKind(key.GroupVersionKind)
	stub.SetNamespace(key.Namespace)
	stub.SetName(key.Name)
	stub.SetUID(object.GetUID())
	stub.SetResourceVersion(object.GetResourceVersion())
	stub.SetOwnerReferences(object.GetOwnerReferences())
	stub.SetFinalizers(object.GetFinalizers())
	for name, value := range object.GetAnnotations() {
		if strings.HasSuffix(name, "/prune") {
			SetField(stub.Object, value, "metadata", "annotations", name)
		}
	}
	stub.SetDeletionTimestamp(object.GetDeletionTimestamp())
	return stub
}

// isStub reports whether object has no content: either its kind has none, or it is
// an identity.
func IsStub(object *unstructured.Unstructured) bool {
	for key := range object.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			return false
		}
	}
	return true
}
