package relay

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// An object that is recreated and synced after the session has read the cache is not
// lost.
func TestRecreatedAfterCacheRead(t *testing.T) {
	for _, listed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			scheduler := h.script(&scripted{closed: !listed, status: newStates().reply})
			model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "iris", Finalizers: []string{v1alpha1.ModelFinalizer}}}
			var old *v1alpha1.Model // a copy, for the goroutine that reads the cache
			recreate := sync.OnceFunc(func() {
				old.SetResourceVersion("")
				h.delete(Model, old)
				h.release(Model, old)
				h.model("iris")
			})
			read := func(is bool) {
				if is && h.relay.session(testNamespace) != nil && h.stateCount() > 0 {
					recreate()
				}
			}
			h.relay.options.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, from client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
					defer read(!listed)
					return from.Get(ctx, key, object, options...)
				},
				List: func(ctx context.Context, from client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					if _, is := list.(*v1alpha1.ModelList); is {
						defer read(listed)
					}
					return from.List(ctx, list, options...)
				},
			})
			h.create(model)
			old = model.DeepCopy()
			h.relay.Open(testNamespace)
			h.sync(Model, model)
			h.settle(2 * time.Second)
			if !listed {
				scheduler = h.script(&scripted{status: newStates().reply})
				h.relay.session(testNamespace).cancelAttempt(errReconnectNow)
			}
			h.settle(2 * time.Hour)
			if scheduler.called("load") == 0 {
				t.Errorf("listed %t: it is not loaded", listed)
			}
		})
	}
}

// An object that is recreated while the session reconciles the previous one is not lost.
func TestRecreatedObjectIsNotLost(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		for i := range 20 {
			model := h.model("iris")
			h.settle(time.Duration(i*50) * time.Millisecond)
			h.delete(Model, model)
			h.settle(time.Duration(i*10) * time.Millisecond)
			h.release(Model, model)
			again := h.model("iris")
			h.settle(time.Minute)
			if seen := h.sync(Model, again); !isReady(seen) {
				t.Fatalf("round %d: observed %+v", i, seen)
			}
			h.delete(Model, again)
			h.settle(10 * time.Second)
			h.release(Model, again)
			h.settle(time.Second)
		}
	})
}

// A Pipeline that is recreated during the load of the previous one replaces it in the
// scheduler, which has it at the same generation.
func TestRecreatedDuringLoad(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.DeadlineExceeded} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				h.server("mlserver", 1)
				h.open()
				release := h.scheduler.HangCalls("LoadPipeline")
				if code != codes.OK {
					h.scheduler.LoseReplies("LoadPipeline", 1, code)
				}
				pipeline := h.pipeline()
				h.settle(time.Second)
				h.delete(Pipeline, pipeline)
				h.release(Pipeline, pipeline)
				recreated := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Name: "chain", Finalizers: []string{v1alpha1.PipelineFinalizer}}}
				recreated.Spec.Steps = []v1alpha1.PipelineStep{{Name: "other"}}
				h.create(recreated)
				h.sync(Pipeline, recreated)
				release()
				h.settle(time.Minute)
				all := h.scheduler.Pipelines()
				if len(all) != 1 || all[0].Definition.GetSteps()[0].GetName() != "other" {
					t.Errorf("the scheduler has %v", all)
				}
			})
		})
	}
}
