package reconciler

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

// Reconciler reconciles a kind of custom resource that expands into child objects. T is
// a pointer to the Go type of the kind. Its objects carry the finalizer
// <KeyPrefix>finalizer, and their child objects are deleted in order before them.
type Reconciler[T Object] struct {
	// Engine renders and applies the child objects; its Kinds are watched. Required. The
	// manager's cache has [composition.CacheOptions] and the index of [composition.Index].
	Engine *composition.Engine
	// Input computes the engine's input. Required. An error that no retry helps against is a
	// [composition.RenderError]; if something that the object refers to does not exist yet,
	// a [MissingInputError].
	Input func(ctx context.Context, object T) (composition.Input, error)
	// Conditions returns more conditions of an object that was applied, and may set other
	// fields of its status. Optional.
	Conditions func(object T, result composition.Result) []metav1.Condition

	composer *Composer // set by SetupWithManager
}

// SetupWithManager adds the controller to a manager. It is named after the kind. Each of
// watches may add what else enqueues objects.
func (r *Reconciler[T]) SetupWithManager(mgr manager.Manager, watches ...func(*builder.Builder) *builder.Builder) error {
	if r.Engine == nil || r.Input == nil {
		return errors.New("a reconciler needs Engine and Input")
	}
	object := newObject[T]()
	kind, err := mgr.GetClient().GroupVersionKindFor(object)
	if err != nil {
		return fmt.Errorf("kind of %T: %w", object, err)
	}
	manager := r.Engine.Options().FieldManager
	r.composer = NewComposer(NewBase(kind, Options{
		Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder(manager), FieldManager: manager,
	}), r.Engine)
	build := ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(kind.Kind)).
		For(object, builder.WithPredicates(r.composer.Preexisting.Predicate(), SpecOrMetadataChanged))
	for _, watch := range watches {
		build = watch(build)
	}
	return WatchOwned(build, mgr, object, r.Engine.Kinds()).Complete(r)
}

// Reconcile implements [reconcile.Reconciler].
func (r *Reconciler[T]) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return Run(ctx, r.composer.Base, request, newObject[T](), r)
}

// ReconcileNormal implements [Steps].
func (r *Reconciler[T]) ReconcileNormal(ctx context.Context, object T) (reconcile.Result, error) {
	if err := r.composer.AddFinalizer(ctx, object, r.finalizer()); err != nil {
		return reconcile.Result{}, err
	}
	input, err := r.Input(ctx, object)
	if err != nil {
		return r.composer.ResumeWithoutInput(ctx, object, err)
	}
	result, err := r.composer.Apply(ctx, object, r.composer.Request(object, input))
	if err == nil {
		conditions := ResultConditions(r.Engine.Options(), object, r.composer.Healths(result.Objects), result)
		if r.Conditions != nil {
			conditions = append(conditions, r.Conditions(object, result)...)
		}
		SetConditions(object, conditions)
		object.SetObservedGeneration(object.GetGeneration())
	}
	return reconcile.Result{RequeueAfter: result.RequeueAfter}, err
}

// ReconcileDelete implements [Steps].
func (r *Reconciler[T]) ReconcileDelete(ctx context.Context, object T) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(object, r.finalizer()) {
		return reconcile.Result{}, nil
	}
	done, remaining, err := r.composer.DeleteChildren(ctx, object)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case len(remaining) > 0:
		SetTerminating(object, remaining, CheckFinalizers)
		return reconcile.Result{}, nil
	case !done:
		return reconcile.Result{RequeueAfter: RecreationPollInterval}, nil
	}
	return reconcile.Result{}, r.composer.RemoveFinalizer(ctx, object, r.finalizer())
}

// ReconcileNotFound implements [Steps].
func (r *Reconciler[T]) ReconcileNotFound(_ context.Context, key types.NamespacedName) error {
	r.composer.Forget(key)
	return nil
}

func (r *Reconciler[T]) finalizer() string { return r.Engine.Options().KeyPrefix + "finalizer" }

// newObject returns an empty object of the type that T points to.
func newObject[T Object]() T { return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T) }
