package plan

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// An object is adopted from a manifest only if nothing controls it, it has the label of the
// owner's kind, and a program for manifests has set that label.
func TestFromManifest(t *testing.T) {
	options := enginetest.Options
	options.ManifestManagers = []string{"kubectl"}
	label, other := options.OwnerLabel(), "x"
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: subresource, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}
	}
	withLabel := `{"f:metadata":{"f:labels":{"f:` + label + `":{}}}}`
	for name, test := range map[string]struct {
		change func(*unstructured.Unstructured)
		want   bool
	}{
		"applied by kubectl": {func(*unstructured.Unstructured) {}, true},
		"controlled by another owner": {func(live *unstructured.Unstructured) {
			live.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "c", Controller: new(true)}})
		}, false},
		"with an owner that is not its controller": {func(live *unstructured.Unstructured) {
			live.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "c"}})
		}, true},
		"without the label":        {func(live *unstructured.Unstructured) { live.SetLabels(nil) }, false},
		"of another kind of owner": {func(live *unstructured.Unstructured) { live.SetLabels(map[string]string{label: other}) }, false},
		"labelled by something else": {func(live *unstructured.Unstructured) {
			live.SetManagedFields([]metav1.ManagedFieldsEntry{entry(other, "", withLabel)})
		}, false},
		"with another label by kubectl": {func(live *unstructured.Unstructured) {
			live.SetManagedFields([]metav1.ManagedFieldsEntry{entry(other, "", withLabel), entry("kubectl", "", `{"f:metadata":{"f:labels":{"f:x":{}}}}`)})
		}, false},
		"of a subresource": {func(live *unstructured.Unstructured) {
			live.SetManagedFields([]metav1.ManagedFieldsEntry{entry("kubectl", "status", withLabel)})
		}, false},
		"whose adoption is not complete": {func(live *unstructured.Unstructured) {
			marker := AdoptionMarker(options, "1")
			fields := entry(options.FieldManager, "", `{"f:metadata":{"f:annotations":{"f:`+marker[len(marker)-1]+`":{}}}}`)
			fields.Operation = metav1.ManagedFieldsOperationApply
			live.SetManagedFields([]metav1.ManagedFieldsEntry{fields})
		}, true},
	} {
		live := enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "shop", nil)
		live.SetLabels(options.Labels(enginetest.Owner))
		live.SetManagedFields([]metav1.ManagedFieldsEntry{entry("kubectl", "", withLabel)})
		test.change(live)
		if got := IsFromManifest(options, live, enginetest.Owner); got != test.want {
			t.Errorf("%s: is from a manifest: %t", name, got)
		}
		if CanAdopt(options, live, enginetest.Owner) != test.want || MayWrite(options, live, enginetest.Owner) != test.want {
			t.Errorf("%s: adopted: %t, written: %t", name, CanAdopt(options, live, enginetest.Owner), MayWrite(options, live, enginetest.Owner))
		}
		if IsFromManifest(enginetest.Options, live, enginetest.Owner) && name != "whose adoption is not complete" {
			t.Errorf("%s: adopted by an engine without managers for manifests", name)
		}

		// The cache keeps what the decision needs.
		cached := live.DeepCopy()
		managedfields.Trim(cached, options)
		if IsFromManifest(options, cached, enginetest.Owner) != test.want {
			t.Errorf("%s: another decision for the cached object", name)
		}
		if (metav1.GetControllerOf(live) != nil || len(live.GetLabels()) == 0) && len(cached.GetManagedFields()) > 0 {
			t.Errorf("%s: the cache keeps entries of other managers", name)
		}

		live.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)})
		if CanAdopt(options, live, enginetest.Owner) {
			t.Errorf("%s: adopted while it is being deleted", name)
		}
	}
	orphan := object.Ref{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "Service"}, Namespace: "ns", Name: "shop"}
	live := enginetest.NewObject(orphan.GroupVersionKind, orphan.Name, nil)
	live.SetLabels(options.Labels(enginetest.Owner))
	live.SetManagedFields([]metav1.ManagedFieldsEntry{entry("kubectl", "", withLabel)})
	if step := planOrphan(State{Owner: enginetest.Owner, Options: options}, orphan, live); step.Action != Retain {
		t.Errorf("an object that is not rendered is %s", step.Action)
	}
}
