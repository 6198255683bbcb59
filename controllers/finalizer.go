package controllers

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// addFinalizer puts a finalizer on object by a patch that touches nothing else.
func (e *environment) addFinalizer(ctx context.Context, object client.Object, finalizer string) error {
	before := object.DeepCopyObject().(client.Object)
	if !controllerutil.AddFinalizer(object, finalizer) {
		return nil
	}
	return e.patchFinalizers(ctx, before, object)
}

// removeFinalizer takes a finalizer off object; an object that is gone is fine.
func (e *environment) removeFinalizer(ctx context.Context, object client.Object, finalizer string) error {
	before := object.DeepCopyObject().(client.Object)
	if !controllerutil.RemoveFinalizer(object, finalizer) {
		return nil
	}
	return client.IgnoreNotFound(e.patchFinalizers(ctx, before, object))
}

// patchFinalizers writes the list of finalizers, which a merge patch replaces as
// a whole: the lock keeps it from undoing what somebody else adds meanwhile.
func (e *environment) patchFinalizers(ctx context.Context, before, object client.Object) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := e.client.Patch(ctx, object, patch, client.FieldOwner(finalizersManager)); err != nil {
		return fmt.Errorf("write finalizers: %w", err)
	}
	e.versions.wrote(object)
	return nil
}

// collected reports whether an object is deleted in the foreground or as an orphan's
// owner: the garbage collector then deletes its children before the object, or takes
// its reference off them, and they are not ours to delete.
func collected(object client.Object) bool {
	return controllerutil.ContainsFinalizer(object, metav1.FinalizerDeleteDependents) || orphans(object)
}

// orphans reports whether an object is deleted without its children.
func orphans(object client.Object) bool {
	return controllerutil.ContainsFinalizer(object, metav1.FinalizerOrphanDependents)
}
