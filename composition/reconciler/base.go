package reconciler

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

// Object is a custom resource whose status has conditions and an observedGeneration. It
// is a pointer to a struct with a field Status.
type Object interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
	SetObservedGeneration(generation int64)
}

// Metrics counts what reconcilers do. Implementations are safe for concurrent use.
type Metrics interface {
	// ConflictRetried counts a reconcile of an object of kind that is retried because
	// what it read is older than what is stored.
	ConflictRetried(kind string)
	// ChildrenChanged counts child objects of an owner in namespace that were changed for
	// the reason of an Event: Pruned, DriftCorrected, ConfigurationChanged or
	// ConflictingFieldsRemoved.
	ChildrenChanged(namespace, reason string, children []composition.ObjectRef)
	// BecameReady observes that the condition Ready of an object of kind turned True;
	// previous is that condition before, nil if there was none.
	BecameReady(kind string, object Object, previous *metav1.Condition)
}

// Options configure a [Base].
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Recorder records Events. Required.
	Recorder events.EventRecorder
	// FieldManager is the prefix of the field managers that write to the objects
	// themselves: <FieldManager>-status and <FieldManager>-finalizers. Changing it leaves
	// the fields of the previous manager behind.
	FieldManager string
	// Metrics is nil if nothing is counted.
	Metrics Metrics
	// ReadyReason is the reason of the Event for an object that became ready; empty means
	// <Kind>Ready. The reason of the opposite Event is always <Kind>NotReady.
	ReadyReason string
	// WarningConditions are types of conditions, beside those of this package, that are
	// recorded as a Warning Event when they turn True.
	WarningConditions []string
	// IsProgressing reports whether a reason of Ready=False passes without help, beside
	// Progressing. An object that is not ready for such a reason, and was not ready
	// before, gets no Event. nil means that none does.
	IsProgressing func(reason string) bool
}

// Base reconciles objects of one kind as far as that does not depend on what they
// stand for. It is safe for concurrent use for different objects.
type Base struct {
	Options
	kind     schema.GroupVersionKind
	writes   *writeTracker
	failures *failureTracker
}

// NewBase returns a Base for objects of a kind.
func NewBase(kind schema.GroupVersionKind, options Options) *Base {
	if options.Metrics == nil {
		options.Metrics = discardMetrics{}
	}
	if options.ReadyReason == "" {
		options.ReadyReason = kind.Kind + "Ready"
	}
	return &Base{Options: options, kind: kind, writes: newWriteTracker(), failures: newFailureTracker()}
}

// Forget drops what is remembered of an object that does not exist.
func (b *Base) Forget(key types.NamespacedName) {
	b.writes.forget(key)
	b.failures.forget(key)
}

// Remembered returns the number of objects of which something is remembered. It is 0
// once none of the objects exists.
func (b *Base) Remembered() int { return b.writes.len() + b.failures.len() }

// discardMetrics counts nothing.
type discardMetrics struct{}

func (discardMetrics) ConflictRetried(string)                                  {}
func (discardMetrics) ChildrenChanged(string, string, []composition.ObjectRef) {}
func (discardMetrics) BecameReady(string, Object, *metav1.Condition)           {}

// eachItem calls do for each object of a list.
func eachItem(list client.ObjectList, do func(client.Object)) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}
