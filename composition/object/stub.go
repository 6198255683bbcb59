package object

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Stub returns an object with the identity and the metadata that a plan needs of an object
// that it skips or deletes, and without content.
func Stub(ref Ref, object metav1.Object) *unstructured.Unstructured {
	stub := &unstructured.Unstructured{}
	stub.SetGroupVersionKind(ref.GroupVersionKind)
	stub.SetNamespace(ref.Namespace)
	stub.SetName(ref.Name)
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

// IsStub reports whether object has no content: it is a [Stub], or its kind has no fields
// but metadata.
func IsStub(object *unstructured.Unstructured) bool {
	for key := range object.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			return false
		}
	}
	return true
}
