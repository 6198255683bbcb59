package composition

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// A child that another program made for the same owner is adopted in two steps.
// First one patch of its metadata gives us, as if we had applied them, the fields
// that the other program owns by `Update`, so that what we do not send goes away
// instead of staying theirs for ever; labels it, so that the cache shows it; and
// notes on a workload the configuration its pods run with. No field that pods
// depend on changes. Then comes the first apply, which a workload's pods may
// forbid. Until then the child is under adoption, also for an operator that was
// started in between: what we own has the adopting path in it, which no object
// has, and which the first apply replaces with everything else that we own. The
// path holds the owner's revision at that time: a restart of the pods is allowed
// once the owner has another one.

// adoptingPath marks, in managedFields, a child that awaits our first apply, and
// remembers the owner's revision at the adoption.
func adoptingPath(options object.Options, revision string) []string {
	return []string{"metadata", "annotations", adoptingPrefix(options) + revision}
}

func adoptingPrefix(options object.Options) string { return options.KeyPrefix + "adopting." }

// adopting reports whether a child is ours but for the first apply, and the owner's
// revision at its adoption.
func adoptionRevision(options object.Options, live *unstructured.Unstructured) (revision string, ok bool) {
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
func isOurs(options object.Options, live *unstructured.Unstructured) bool {
	_, rewritten := live.GetAnnotations()[options.LegacyLastAppliedAnnotation]
	_, adopting := adoptionRevision(options, live)
	return managedfields.Own(live, options.FieldManager) != nil && (!rewritten || adopting)
}

// adoptAll takes over the rendered objects that the owner controls and that
// another program made, and returns those under adoption, with the owner's revision
// at the time. It comes before any apply, so that a workload remembers the
// configuration its pods run with before that changes. What could not be taken over
// is in failed, and is not to be applied.
func (e *Engine) adoptAll(ctx context.Context, request Request, children []object.Object, live map[object.Ref]*unstructured.Unstructured) (adopting map[object.Ref]string, failed map[object.Ref]error) {
	adopting, failed = map[object.Ref]string{}, map[object.Ref]error{}
	for _, child := range children {
		key := child.Ref()
		if !adoptable(e.Options, live[key], request.Owner) {
			continue
		}
		if !isOurs(e.Options, live[key]) {
			adopted, err := e.takeOver(ctx, request, child)
			if err != nil {
				failed[key] = &ObjectError{key, fmt.Errorf("take over: %w", err)}
				continue
			}
			if live[key] = adopted; adopted == nil {
				delete(live, key)
				continue
			}
		}
		if revision, ok := adoptionRevision(e.Options, live[key]); ok {
			adopting[key] = revision
		}
	}
	return adopting, failed
}

// adoptable tells objects that are the owner's and stay.
func adoptable(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return live != nil && live.GetDeletionTimestamp() == nil && owner.IsControllerOf(live)
}

// mayWrite reports whether a rendered child may be applied over live: the owner
// controls it, or it is left of an owner of the same kind that was deleted without
// its children: nothing controls it, it has our label, and we have applied it.
func mayWrite(options object.Options, live *unstructured.Unstructured, owner object.Owner) bool {
	return owner.IsControllerOf(live) || metav1.GetControllerOfNoCopy(live) == nil && isOurs(options, live) &&
		live.GetLabels()[options.OwnerLabel()] == options.Labels(owner)[options.OwnerLabel()]
}

// takeOver is the first step of adopting one object. It gives back what is live
// after it; nil if that is nothing.
func (e *Engine) takeOver(ctx context.Context, request Request, child object.Object) (taken *unstructured.Unstructured, err error) {
	key, owner := child.Ref(), request.Owner
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		// Not from the cache, which trims managedFields.
		live, err := e.getLive(ctx, key)
		if err != nil || !adoptable(e.Options, live, owner) || isOurs(e.Options, live) {
			taken = live
			return err
		}
		if err := migrate(e.Options, live, owner, request.Revision, metav1.NewTime(e.now())); err != nil {
			return err
		}
		annotations := map[string]string{}
		origin := e.Options.HashAtCreationAnnotation()
		if value := child.Object.GetAnnotations()[origin]; value != "" && live.GetAnnotations()[origin] == "" {
			annotations[origin] = value
		}
		if child.RestartOnChange {
			annotations[e.Options.HashAtAdoptionAnnotation()] = hashConfig(e.Options, live).Current
		}
		patch, err := managedfields.Patch(live, e.Options.Labels(owner), annotations)
		if err != nil {
			return err
		}
		taken, err = e.patchMetadata(ctx, live, patch)
		return err
	})
	return taken, err
}

// migrate gives p.Manager, by server-side apply, what previous managers of live
// own by `Update`, and marks live as one under adoption. It changes live's
// managedFields.
func migrate(options object.Options, live *unstructured.Unstructured, owner object.Owner, revision string, now metav1.Time) error {
	if err := csaupgrade.UpgradeManagedFields(live, previousManagers(options, live, owner), options.FieldManager); err != nil {
		return fmt.Errorf("migrate field ownership: %w", err)
	}
	if managedfields.Own(live, options.FieldManager) == nil {
		live.SetManagedFields(append(live.GetManagedFields(), metav1.ManagedFieldsEntry{
			Manager: options.FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(),
			Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1("{}"),
		}))
	}
	_, err := managedfields.UpdateOwnEntry(live, options.FieldManager, func(owned *fieldpath.Set) *fieldpath.Set {
		return owned.Union(fieldpath.NewSet(managedfields.Path(adoptingPath(options, revision))))
	})
	return err
}

// previousManagers are the managers whose `Update` entries hold the reference to
// owner, or what an operator before us remembers: whoever wrote it is the program
// that made the object before us, or wrote to it again.
func previousManagers(options object.Options, obj metav1.Object, owner object.Owner) sets.Set[string] {
	managers := sets.New[string]()
	reference := fieldpath.MakePathOrDie("metadata", "ownerReferences", fieldpath.KeyByFields("uid", string(owner.UID)))
	memory := fieldpath.MakePathOrDie("metadata", "annotations", options.LegacyLastAppliedAnnotation)
	for _, entry := range obj.GetManagedFields() {
		if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err == nil && (fields.Has(reference) || fields.Has(memory)) {
			managers.Insert(entry.Manager)
		}
	}
	return managers
}

// patchMetadata sends a patch of live's metadata and gives back what is live then.
func (e *Engine) patchMetadata(ctx context.Context, live *unstructured.Unstructured, patch []byte) (*unstructured.Unstructured, error) {
	obj := live.DeepCopy()
	err := e.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(e.Options.FieldManager))
	if err != nil {
		return nil, err
	}
	gvk := obj.GroupVersionKind()
	inCache, err := e.asCached(obj)
	if err != nil {
		return nil, err
	}
	return cached.FromTyped(inCache, gvk)
}
