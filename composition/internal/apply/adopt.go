package apply

import (
	"bytes"
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// An object that another program created for the same owner, or from a rendered manifest, is
// adopted in two steps. The first is one patch of its metadata. It moves the fields that the
// other program owns to the engine's Apply entry, so that fields which are not rendered are removed by
// the first apply; it adds the owner label, so that the cache shows the object; and it
// remembers on a workload the configuration that its pods run with. No field that pods
// depend on changes. The second step is the first apply, which waits as long as it would
// restart pods.
//
// Between the two the object is under adoption, also for an operator that is restarted
// meanwhile: the engine's Apply entry has a marker, the path of an annotation that no
// object has, which the first apply removes. The marker holds the owner's revision at that
// time: pods may restart once the owner has another one.

// Adopt migrates the ownership of the rendered objects that another program created, and that
// the owner of state controls or that are from rendered manifests. It sets the result in state.Live and
// state.AdoptionErrors.
func (a *Applier) Adopt(ctx context.Context, state *plan.State) {
	options := a.Cluster.Options
	state.AdoptionErrors = map[object.Ref]error{}
	var objects []object.Object
	for i, child := range state.Objects {
		ref := child.Ref()
		if !plan.CanAdopt(options, state.Live[ref], state.Owner) || plan.IsManaged(options, state.Live[ref]) {
			continue
		}
		if objects == nil {
			objects = state.WithConfigHashes()
		}
		adopted, err := a.migrateOwnership(ctx, *state, objects[i])
		if err != nil {
			state.AdoptionErrors[ref] = &object.Error{Ref: ref, Err: fmt.Errorf("migrate field ownership: %w", err)}
			continue
		}
		if state.Live[ref] = adopted; adopted == nil {
			delete(state.Live, ref)
		}
	}
}

// migrateOwnership is the first step of an adoption. It returns the live object after it;
// nil if that does not exist.
func (a *Applier) migrateOwnership(ctx context.Context, state plan.State, child object.Object) (adopted *unstructured.Unstructured, err error) {
	ref, options := child.Ref(), a.Cluster.Options
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := a.Cluster.Get(ctx, ref)
		if err != nil || !plan.CanAdopt(options, live, state.Owner) || plan.IsManaged(options, live) {
			adopted = live
			return err
		}
		if err := migrateManagedFields(options, live, state.Owner, state.Revision, metav1.NewTime(a.Now())); err != nil {
			return err
		}
		annotations := map[string]string{}
		atCreation := options.HashAtCreationAnnotation()
		if value := child.Object.GetAnnotations()[atCreation]; value != "" && live.GetAnnotations()[atCreation] == "" {
			annotations[atCreation] = value
		}
		if child.RestartOnChange {
			annotations[options.HashAtAdoptionAnnotation()] = plan.ConfigHashOf(options, live).Current
		}
		patch, err := managedfields.Patch(live, options.Labels(state.Owner), annotations)
		if err != nil {
			return err
		}
		adopted, err = a.Cluster.PatchMetadata(ctx, live, patch)
		return err
	})
	return adopted, err
}

// migrateManagedFields moves what previous managers of live own to the Apply entry of the
// engine, and adds the marker of an adoption. It changes live's managedFields.
func migrateManagedFields(options object.Options, live *unstructured.Unstructured, owner object.Owner, revision string, now metav1.Time) error {
	if err := csaupgrade.UpgradeManagedFields(live, previousManagers(options, live, owner), options.FieldManager); err != nil {
		return err
	}
	if managedfields.Own(live, options.FieldManager) == nil {
		live.SetManagedFields(append(live.GetManagedFields(), metav1.ManagedFieldsEntry{
			Manager: options.FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(),
			Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1("{}"),
		}))
	}
	if plan.IsFromManifest(options, live, owner) {
		err := managedfields.MoveToOwnEntry(live, options.FieldManager, func(entry metav1.ManagedFieldsEntry) bool {
			return managedfields.SetsOwnerLabel(options, entry)
		})
		if err != nil {
			return err
		}
	}
	_, err := managedfields.UpdateOwnEntry(live, options.FieldManager, func(owned *fieldpath.Set) *fieldpath.Set {
		return owned.Union(fieldpath.NewSet(managedfields.Path(plan.AdoptionMarker(options, revision))))
	})
	return err
}

// previousManagers are the field managers whose Update entries have the reference to owner,
// or the annotation of the operator that ran before: they created the object, or wrote to
// it after it was adopted.
func previousManagers(options object.Options, obj metav1.Object, owner object.Owner) sets.Set[string] {
	managers := sets.New[string]()
	reference := fieldpath.MakePathOrDie("metadata", "ownerReferences", fieldpath.KeyByFields("uid", string(owner.UID)))
	lastApplied := fieldpath.MakePathOrDie("metadata", "annotations", options.LegacyLastAppliedAnnotation)
	for _, entry := range obj.GetManagedFields() {
		if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err == nil && (fields.Has(reference) || fields.Has(lastApplied)) {
			managers.Insert(entry.Manager)
		}
	}
	return managers
}
