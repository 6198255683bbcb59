package plan

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// AdoptionMarker returns the path of a field, which exists in managedFields only, that marks
// an object under adoption until its first apply. It contains the owner's revision.
func AdoptionMarker(options object.Options, revision string) []string {
	return []string{"metadata", "annotations", adoptingPrefix(options) + revision}
}

func adoptingPrefix(options object.Options) string { return options.KeyPrefix + "adopting." }

// AdoptionRevision returns the owner's revision at the adoption of an object; ok is false if
// the object is not under adoption.
func AdoptionRevision(options object.Options, live *unstructured.Unstructured) (revision string, ok bool) {
	metadata, _ := managedfields.Own(live, options.FieldManager)["f:metadata"].(map[string]any)
	annotations, _ := metadata["f:annotations"].(map[string]any)
	for key := range annotations {
		if revision, ok := strings.CutPrefix(key, "f:"+adoptingPrefix(options)); ok {
			return revision, true
		}
	}
	return "", false
}

// IsManaged reports whether the engine has applied or adopted an object, and a previous
// operator has not written to it since then. The owner label may be missing.
func IsManaged(options object.Options, live *unstructured.Unstructured) bool {
	_, rewritten := live.GetAnnotations()[options.LegacyLastAppliedAnnotation]
	_, adopting := AdoptionRevision(options, live)
	return managedfields.Own(live, options.FieldManager) != nil && (!rewritten || adopting)
}

// CanAdopt reports whether owner may adopt an object that exists and is not being deleted: it
// controls the object, or the object is from a rendered manifest; see [IsFromManifest].
func CanAdopt(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return live != nil && live.GetDeletionTimestamp() == nil && (owner.IsControllerOf(live) || IsFromManifest(options, live, owner))
}

// IsFromManifest reports whether an object was applied from a manifest that the engine
// rendered for an owner of the same kind: it has no controller, it has the
// owner label, and a program for manifests has set that label. While the adoption of such an
// object is not complete, that program's fields are the engine's already.
func IsFromManifest(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	if !isWithoutController(options, live, owner) {
		return false
	}
	if _, adopting := AdoptionRevision(options, live); adopting {
		return true
	}
	return slices.ContainsFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return managedfields.SetsOwnerLabel(options, entry)
	})
}

// isWithoutController reports whether an object has no controller, and the label of an owner
// of the same kind.
func isWithoutController(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return metav1.GetControllerOfNoCopy(live) == nil && live.GetLabels()[options.OwnerLabel()] == options.Labels(owner)[options.OwnerLabel()]
}

// MayWrite reports whether a rendered object may be applied over live: the owner controls it;
// or it has no controller, has the owner label, and the engine has applied it for a deleted
// owner of the same kind; or it is from a rendered manifest.
func MayWrite(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return owner.IsControllerOf(live) || isWithoutController(options, live, owner) && IsManaged(options, live) || IsFromManifest(options, live, owner)
}
