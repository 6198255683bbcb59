package reconciler

import (
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// UIDChanged passes updates that replace an object by another one of the same name,
// and all other kinds of events. A watch that was interrupted reports a deletion and the
// following creation as one update.
var UIDChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
}}

// SpecChanged passes changes of an object's spec, its deletion, and its replacement by
// another object of the same name. It drops updates of status and metadata.
var SpecChanged = predicate.Or(predicate.GenerationChangedPredicate{}, UIDChanged)

// SpecOrMetadataChanged passes what [SpecChanged] does, and changes of labels and
// annotations. It drops updates of status, which the reconciler itself writes.
var SpecOrMetadataChanged = predicate.Or(
	SpecChanged,
	predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			!maps.Equal(e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations())
	}},
)

// CreatedOrDeleted passes the creation of an object, the start of its deletion and the
// deletion itself.
var CreatedOrDeleted = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetDeletionTimestamp() == nil && e.ObjectNew.GetDeletionTimestamp() != nil
}}

// Deleted passes the deletion of an object, once it does not exist any more.
var Deleted = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(event.UpdateEvent) bool { return false },
}
