package reconciler

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

// RecreationPollInterval is when to look again whether a StatefulSet that is being
// recreated does not exist any more, in case the event of its deletion is missed.
const RecreationPollInterval = 5 * time.Second

// Composer expands objects of one kind into child objects. It is safe for concurrent use
// for different objects.
type Composer struct {
	*Base
	// Engine renders and applies the child objects.
	Engine *composition.Engine
	// Preexisting has the owners that may have child objects of a previous operator. Its
	// predicate must be on the watch of the owners.
	Preexisting *Preexisting

	reporting []schema.GroupKind
}

// NewComposer returns a Composer. Kinds of the engine whose Go type is an [Object] are
// expected to report conditions: without any, a child object is not ready.
func NewComposer(base *Base, engine *composition.Engine) *Composer {
	c := &Composer{Base: base, Engine: engine, Preexisting: NewPreexisting()}
	for _, kind := range engine.Kinds() {
		if _, reports := kind.Object.(Object); !reports {
			continue
		}
		if gvk, err := base.Client.GroupVersionKindFor(kind.Object); err == nil {
			c.reporting = append(c.reporting, gvk.GroupKind())
		}
	}
	return c
}

// Owner returns object as the engine's owner of child objects.
func (c *Composer) Owner(object client.Object) composition.Owner {
	return composition.Owner{GroupVersionKind: c.kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID()}
}

// Request returns a request for object with an input; see [composition.NewRequest].
func (c *Composer) Request(object client.Object, input composition.Input) composition.Request {
	request := composition.NewRequest(c.Engine.Options(), c.kind, object)
	request.Input = input
	return request
}

// Apply renders and applies a request for object, and records Events of the result,
// which is valid also with an error, as far as it got; see [composition.Engine.Reconcile].
func (c *Composer) Apply(ctx context.Context, object Object, request composition.Request) (composition.Result, error) {
	request.SkipInitialScan = !c.Preexisting.Has(object.GetUID())
	result, err := c.Engine.Reconcile(ctx, request)
	c.recordResultEvents(object, result)
	return result, err
}

// ResumeWithoutInput ends the reconcile of an object whose input could not be computed
// because of inputErr, which it returns: StatefulSets that are being recreated are
// recreated nevertheless.
func (c *Composer) ResumeWithoutInput(ctx context.Context, object client.Object, inputErr error) (reconcile.Result, error) {
	done, err := c.Engine.Resume(ctx, c.Owner(object), !c.Preexisting.Has(object.GetUID()), false)
	if !done {
		return reconcile.Result{RequeueAfter: RecreationPollInterval}, errors.Join(inputErr, err)
	}
	return reconcile.Result{}, inputErr
}

// Resume recreates StatefulSets of an object that is being deleted. It reports whether
// none is left; if not, try again after [RecreationPollInterval].
func (c *Composer) Resume(ctx context.Context, object client.Object) (done bool, err error) {
	return c.Engine.Resume(ctx, c.Owner(object), false, IsOrphanDeletion(object))
}

// DeleteChildren does the next step of deleting the child objects of an object that is
// being deleted, in reverse order of their waves. It reports whether none is left, and
// else returns the names of those that are, if there is something to wait for. It never
// waits itself: it is called again when a child object is deleted. Child objects that
// the garbage collector handles are left to it, once their recreation is completed.
func (c *Composer) DeleteChildren(ctx context.Context, object client.Object) (done bool, remaining []string, err error) {
	if ChildrenGarbageCollected(object) {
		done, err = c.Resume(ctx, object)
		return done && err == nil, nil, err
	}
	refs, err := c.Engine.Delete(ctx, c.Owner(object))
	for _, ref := range refs {
		remaining = append(remaining, ref.Kind+" "+ref.Name)
	}
	return len(refs) == 0 && err == nil, remaining, err
}

// Healths computes the health of each object.
func (c *Composer) Healths(objects composition.LiveObjects) map[composition.ObjectRef]ChildHealth {
	return childHealths(objects, c.reporting)
}

// Children returns the child objects that exist, from the cache.
func (c *Composer) Children(ctx context.Context, object client.Object) (composition.LiveObjects, error) {
	return c.Engine.Owned(ctx, c.Owner(object))
}

// Forget drops what is remembered of an object that does not exist, or that has no child
// objects any more.
func (c *Composer) Forget(key types.NamespacedName) {
	c.Base.Forget(key)
	c.Engine.Forget(c.Owner(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}))
}

// CheckFinalizers is a remedy for [SetTerminating] if all objects are being deleted.
const CheckFinalizers = "if this lasts, check their finalizers"

// SetTerminating sets Ready=False on an object whose deletion waits until others, named
// for people, are deleted. remedy is what people can do.
func SetTerminating(object Object, waitingFor []string, remedy string) {
	object.SetObservedGeneration(object.GetGeneration())
	SetConditions(object, []metav1.Condition{
		False(ConditionReady, ReasonTerminating, "waiting until these are deleted: "+JoinMessages(waitingFor)+"; "+remedy),
	}, AllButReady(object)...)
}
