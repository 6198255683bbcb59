package reconciler

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// recordingQueue records the delays of the requests that are added.
type recordingQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	waits []time.Duration
}

func (q *recordingQueue) Add(reconcile.Request) { q.waits = append(q.waits, 0) }

func (q *recordingQueue) AddAfter(_ reconcile.Request, after time.Duration) {
	q.waits = append(q.waits, after)
}

func TestStatusUpdatesAreDebounced(t *testing.T) {
	deployment := func(change func(*appsv1.Deployment)) client.Object {
		object := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
			Generation: 1, Labels: map[string]string{"ours": "1"}, Annotations: map[string]string{"ours": "1"},
			OwnerReferences: []metav1.OwnerReference{{UID: "owner"}},
		}}
		change(object)
		return object
	}
	for name, test := range map[string]struct {
		after client.Object
		wait  time.Duration
	}{
		"status":              {deployment(func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 1 }), debouncePeriod},
		"another's label":     {deployment(func(d *appsv1.Deployment) { d.Labels["theirs"] = "1" }), debouncePeriod},
		"spec":                {deployment(func(d *appsv1.Deployment) { d.Generation = 2 }), 0},
		"label lost":          {deployment(func(d *appsv1.Deployment) { delete(d.Labels, "ours") }), 0},
		"annotation changed":  {deployment(func(d *appsv1.Deployment) { d.Annotations["ours"] = "2" }), 0},
		"owner lost":          {deployment(func(d *appsv1.Deployment) { d.OwnerReferences = nil }), 0},
		"deletion":            {deployment(func(d *appsv1.Deployment) { d.DeletionTimestamp = &metav1.Time{} }), 0},
		"kind without status": {&corev1.ConfigMap{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			add := handler.Funcs{UpdateFunc: func(_ context.Context, _ event.UpdateEvent, to queue) { to.Add(reconcile.Request{}) }}
			before := deployment(func(*appsv1.Deployment) {})
			if _, is := test.after.(*corev1.ConfigMap); is {
				before = &corev1.ConfigMap{}
			}
			recorded := &recordingQueue{}
			ownedHandler{add}.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: test.after}, recorded)
			if len(recorded.waits) != 1 || recorded.waits[0] != test.wait {
				t.Errorf("waits %v, want %v", recorded.waits, test.wait)
			}
		})
	}
}

func TestCreationsAreDebounced(t *testing.T) {
	add := handler.Funcs{CreateFunc: func(_ context.Context, _ event.CreateEvent, to queue) { to.Add(reconcile.Request{}) }}
	recorded := &recordingQueue{}
	for _, initial := range []bool{false, true} {
		ownedHandler{add}.Create(t.Context(), event.CreateEvent{Object: &corev1.ConfigMap{}, IsInInitialList: initial}, recorded)
	}
	if len(recorded.waits) != 2 || recorded.waits[0] != debouncePeriod || recorded.waits[1] != 0 {
		t.Errorf("waits %v", recorded.waits)
	}
}
