package relay

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func TestFirstSyncWaitsForWorkloads(t *testing.T) {
	for name, test := range map[string]struct {
		missing func(h *harness)
		waits   bool
		// arrives creates what is missing.
		arrives func(h *harness)
		first   string
	}{
		"of a Server": {
			missing: func(h *harness) { h.bareServer("b") },
			waits:   true,
			arrives: func(h *harness) { h.workload("b", 2) },
			first:   "first:a=1,b=2",
		},
		"of a Server that a SeldonRuntime has and the cluster does not yet": {
			missing: func(h *harness) {
				h.create(&v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Name: "seldon"}, Spec: v1alpha1.SeldonRuntimeSpec{
					Servers: []v1alpha1.RuntimeServer{{Name: "a"}, {Name: "b"}},
				}})
			},
			waits: true,
			arrives: func(h *harness) {
				h.bareServer("b")
				h.workload("b", 2)
			},
			first: "first:a=1,b=2",
		},
		"of a Server that never gets one": {
			missing: func(h *harness) { h.bareServer("b") },
			waits:   true,
			arrives: func(h *harness) { h.settle(firstSyncTimeout) },
			first:   "first:a=1",
		},
		"but not of a paused Server": {
			missing: func(h *harness) {
				h.bareServer("b", func(s *v1alpha1.Server) { s.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"} })
			},
			first: "first:a=1",
		},
		"but not of a Server that is being deleted": {
			missing: func(h *harness) {
				server := h.bareServer("b", func(s *v1alpha1.Server) { s.Finalizers = []string{v1alpha1.ServerFinalizer} })
				h.workload("b", 2)
				if err := h.cluster.Delete(h.Context(), server); err != nil {
					h.Fatal(err)
				}
			},
			first: "first:a=1",
		},
		"but not of a SeldonRuntime that is being deleted": {
			missing: func(h *harness) {
				seldon := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Name: "seldon", Finalizers: []string{"example.com/test"}}}
				seldon.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "b"}}
				h.create(seldon)
				if err := h.cluster.Delete(h.Context(), seldon); err != nil {
					h.Fatal(err)
				}
			},
			first: "first:a=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls := &notifications{}
			inBubble(t, func(h *harness) {
				h.server("a", 1)
				test.missing(h)
				h.open()
				if test.waits {
					calls.expect(t, "before", []string{}...)
					test.arrives(h)
					h.settle(time.Millisecond)
				}
				calls.expect(t, "after", test.first)
				h.relay.SyncServer(client.ObjectKey{Namespace: testNamespace, Name: "a"})
				h.settle(time.Second)
				calls.expect(t, "later", []string{}...)
			}, calls.record)
		})
	}
}

// A workload may be created after the session looked for it, and before it waits.
func TestFirstSyncMissesNoWorkload(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.bareServer("a")
		arrives := sync.OnceFunc(func() { h.workload("a", 1) })
		h.relay.options.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
			Get: func(ctx context.Context, from client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
				err := from.Get(ctx, key, object, options...)
				if _, is := object.(*appsv1.StatefulSet); is {
					arrives()
				}
				return err
			},
		})
		h.open()
		calls.expect(t, "first", "first:a=1")
	}, calls.record)
}

// A scheduler that is already running requests the other kinds immediately. These do not wait.
func TestFirstSyncDelaysNoOtherKind(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.bareServer("a")
		model := h.model("iris")
		h.open()
		h.sync(Model, model)
		if err := h.scheduler.OpenGate(); err != nil {
			t.Fatal(err)
		}
		h.settle(time.Second)
		if n := h.scheduler.Calls("LoadModel"); n != 1 {
			t.Errorf("%d Models were loaded, want 1", n)
		}
		calls.expect(t, "meanwhile", []string{}...)
	}, calls.record)
}

// One rejected Server does not prevent the notification of the others.
func TestRejectedServer(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.server("a", 1)
		h.server("b", 2)
		h.server("c", 3)
		// The notification of all Servers, and that of a.
		h.scheduler.FailCalls("ServerNotify", 2, codes.InvalidArgument)
		h.scheduler.DelayCalls("ServerNotify", time.Second)
		h.open()
		if status := h.status(); strings.Contains(status.SyncMessage, "Server b") {
			t.Errorf("status %+v before it is known which Server is rejected", status)
		}
		h.settle(4 * time.Second)
		got := calls.drain()
		want := []string{"first:a=1,b=2,c=3 InvalidArgument", "a=1 InvalidArgument", "b=2", "c=3", "first:b=2,c=3"}
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Fatalf("notifications %q, want %q", got, want)
		}
		h.settle(time.Minute)
		calls.drain()
		if status := h.status(); status.SyncReason == ReasonNotifyFailed {
			t.Errorf("status %+v after the scheduler accepted the Server", status)
		}
	}, calls.record)
}

func TestRejectedServerIsReported(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.server("a", 1)
		h.open()
		calls.drain()
		h.requests.drain(SeldonRuntime)
		h.create(&v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Name: "seldon"}})
		h.scheduler.FailCalls("ServerNotify", -1, codes.FailedPrecondition)
		server := h.server("b", 2)
		h.settle(2 * time.Minute)
		if n := len(calls.drain()); n < 7 || n > 9 {
			t.Errorf("%d notifications in 2 minutes, want them up to 30 seconds apart", n)
		}
		if status := h.status(); status.Synced || status.SyncReason != ReasonNotifyFailed || !strings.Contains(status.SyncMessage, "Server b is rejected: ServerNotify fails on request") {
			t.Errorf("status %+v", status)
		}
		if n := len(h.requests.drain(SeldonRuntime)); n != 1 {
			t.Errorf("the SeldonRuntime is enqueued %d times, want once", n)
		}
		// A deleted Server is not reported any more.
		h.removeServer(server)
		h.settle(time.Minute)
		if status := h.status(); status.SyncReason == ReasonNotifyFailed {
			t.Errorf("status %+v", status)
		}
		if n := len(h.requests.drain(SeldonRuntime)); n == 0 {
			t.Error("the SeldonRuntime is not enqueued")
		}
	}, calls.record)
}

// A Server that runs as a Deployment is notified with the replicas of its Deployment.
func TestServerOfADeployment(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.relay.options.UseDeployments = true
		server := h.server("mlserver", 1) // its StatefulSet does not count
		workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "mlserver"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(3))}}
		h.create(workload)
		h.open()
		calls.expect(t, "first", "first:mlserver=3")
		if err := h.scheduler.RequestScaling("mlserver", 5); err != nil {
			t.Fatal(err)
		}
		h.settle(0)
		if seen := h.relay.SyncServer(client.ObjectKeyFromObject(server)); seen.Scaling == nil || seen.Scaling.Replicas != 5 {
			t.Errorf("observed %+v", seen.Scaling)
		}
		workload.Spec.Replicas = new(int32(5))
		if err := h.cluster.Update(h.Context(), workload); err != nil {
			t.Fatal(err)
		}
		h.relay.SyncServer(client.ObjectKeyFromObject(server))
		h.settle(0)
		calls.expect(t, "scaled", "mlserver=5")
	}, calls.record)
}

// A Server that was rejected, and then cannot be notified because its spec contradicts
// itself, is not reported as rejected on the next connection.
func TestRejectionEndsWithTheConnection(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("a", 1)
		h.open()
		h.scheduler.FailCalls("ServerNotify", -1, codes.InvalidArgument)
		server := h.server("b", 2)
		h.settle(time.Minute)
		server.Spec.MinReplicas, server.Spec.MaxReplicas = new(int64(5)), new(int64(2))
		server.Generation++
		if err := h.cluster.Update(h.Context(), server); err != nil {
			t.Fatal(err)
		}
		h.scheduler.FailCalls("ServerNotify", 0, codes.OK)
		h.scheduler.EndStreams("SubscribeControlPlane")
		h.settle(time.Minute)
		if status := h.status(); !status.Synced {
			t.Errorf("status %+v", status)
		}
	})
}
