package reconciler

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// AddFinalizer adds a finalizer to object, unless it has it, by a patch that changes
// nothing else.
func (b *Base) AddFinalizer(ctx context.Context, object client.Object, finalizer string) error {
	before := object.DeepCopyObject().(client.Object)
	if !controllerutil.AddFinalizer(object, finalizer) {
		return nil
	}
	return b.patchFinalizers(ctx, before, object)
}

// RemoveFinalizer removes a finalizer from object, if it has it, by a patch that changes
// nothing else. An object that does not exist is not an error.
func (b *Base) RemoveFinalizer(ctx context.Context, object client.Object, finalizer string) error {
	before := object.DeepCopyObject().(client.Object)
	if !controllerutil.RemoveFinalizer(object, finalizer) {
		return nil
	}
	return client.IgnoreNotFound(b.patchFinalizers(ctx, before, object))
}

// patchFinalizers writes the list of finalizers. A merge patch replaces it as a whole,
// so the patch has the resourceVersion: it fails by a conflict if another client has
// changed the list meanwhile.
func (b *Base) patchFinalizers(ctx context.Context, before, object client.Object) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := b.Client.Patch(ctx, object, patch, client.FieldOwner(b.FieldManager+"-finalizers")); err != nil {
		return fmt.Errorf("write finalizers: %w", err)
	}
	b.writes.recordWrite(object)
	return nil
}

// ChildrenGarbageCollected reports whether object is deleted with the propagation policy
// Foreground or Orphan: the garbage collector then deletes its child objects before the
// object, or removes the owner reference from them, so that the reconciler must not
// delete them.
func ChildrenGarbageCollected(object client.Object) bool {
	return controllerutil.ContainsFinalizer(object, metav1.FinalizerDeleteDependents) || IsOrphanDeletion(object)
}

// IsOrphanDeletion reports whether object is deleted without its child objects.
func IsOrphanDeletion(object client.Object) bool {
	return controllerutil.ContainsFinalizer(object, metav1.FinalizerOrphanDependents)
}
