package plan

import (
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

// CanAdopt reports whether owner controls an object that exists and is not being deleted.
func CanAdopt(live *unstructured.Unstructured, owner object.Owner) bool {
	return live != nil && live.GetDeletionTimestamp() == nil && owner.IsControllerOf(live)
}

// MayWrite reports whether a rendered object may be applied over live: the owner controls it,
// or it is an orphan of a deleted owner of the same kind: it has no controller, it has the
// owner label, and the engine has applied it.
func MayWrite(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return owner.IsControllerOf(live) || metav1.GetControllerOfNoCopy(live) == nil && IsManaged(options, live) &&
		live.GetLabels()[options.OwnerLabel()] == options.Labels(owner)[options.OwnerLabel()]
}
