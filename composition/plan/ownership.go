package plan

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// adoptingPath marks, in managedFields, a child that awaits our first apply, and
// remembers the owner's revision at the adoption.
func AdoptionMarker(options object.Options, revision string) []string {
	return []string{"metadata", "annotations", adoptingPrefix(options) + revision}
}

func adoptingPrefix(options object.Options) string { return options.KeyPrefix + "adopting." }

// adopting reports whether a child is ours but for the first apply, and the owner's
// revision at its adoption.
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

// isOurs tells a child that we have applied or taken over, and that no operator
// before us has written to since then. It may have lost its label.
func IsManaged(options object.Options, live *unstructured.Unstructured) bool {
	_, rewritten := live.GetAnnotations()[options.LegacyLastAppliedAnnotation]
	_, adopting := AdoptionRevision(options, live)
	return managedfields.Own(live, options.FieldManager) != nil && (!rewritten || adopting)
}

// adoptable tells objects that are the owner's and stay.
func CanAdopt(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return live != nil && live.GetDeletionTimestamp() == nil && owner.IsControllerOf(live)
}

// mayWrite reports whether a rendered child may be applied over live: the owner
// controls it, or it is left of an owner of the same kind that was deleted without
// its children: nothing controls it, it has our label, and we have applied it.
func MayWrite(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return owner.IsControllerOf(live) || metav1.GetControllerOfNoCopy(live) == nil && IsManaged(options, live) &&
		live.GetLabels()[options.OwnerLabel()] == options.Labels(owner)[options.OwnerLabel()]
}
