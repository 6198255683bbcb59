package controllers

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// indexer adds indexes to the builder of a fake client.
type indexer struct{ *fake.ClientBuilder }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.WithIndex(object, field, extract)
	return nil
}

// Memory does not grow when Servers are created and deleted again and again, as in
// continuous integration. They have no ServerConfig; Servers with child objects are
// tested on a real control plane.
func TestMemoryOfDeletedServersIsReleased(t *testing.T) {
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	// Without managed fields, which would take most of the time.
	tracker := clientgotesting.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder())
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjectTracker(tracker).WithStatusSubresource(&v1alpha1.Server{})
	if err := composition.Index(t.Context(), indexer{builder}, inputs.ServerKinds()); err != nil {
		t.Fatal(err)
	}
	to := builder.Build()
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{
		client: to, apiReader: to, pods: newPodFailures(to), metrics: newCollector(to, prometheus.NewRegistry()),
		relay: relay.New(t.Context(), relay.Options{Reader: to, APIReader: to}),
		base:  reconciler.Options{Client: to, Recorder: &events.FakeRecorder{}, FieldManager: inputs.FieldManager},
	}
	composer, err := s.newComposer("Server", compiled, inputs.ServerKinds())
	if err != nil {
		t.Fatal(err)
	}
	servers := &serverReconciler{s, composer, &inputs.Resolver{Reader: to}}
	const batch = 20
	createAndDelete := func(batches int) uint64 {
		for round := range batches {
			for _, step := range []func(client.Object) error{
				func(server client.Object) error { return to.Create(t.Context(), server) },
				func(server client.Object) error { return to.Delete(t.Context(), server) },
			} {
				for i := range batch {
					server := &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{
						Namespace: "team", Name: fmt.Sprintf("server-%d", round*batch+i), Generation: 1,
					}, Spec: v1alpha1.ServerSpec{ServerConfig: "none"}}
					if err := step(server); err != nil {
						t.Fatal(err)
					}
					if _, err := servers.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(server)}); err != nil {
						t.Fatal(err)
					}
				}
				// A write of status and a failure each.
				if number := remembered(composer)["objects"]; number != 2*batch && number != 0 {
					t.Fatalf("%d records of Servers without ServerConfig, want %d or none", number, 2*batch)
				}
			}
		}
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		return memory.HeapAlloc
	}
	number := 10_000
	if testing.Short() {
		number = 3_000
	}
	before := createAndDelete(10)
	after := createAndDelete(number / batch)
	t.Logf("heap before and after %d Servers: %d KiB, %d KiB", number, before>>10, after>>10)
	if want := map[string]int{"owners": 0, "objects": 0}; !maps.Equal(remembered(composer), want) {
		t.Errorf("remembered: %v", remembered(composer))
	}
	if after > before+uint64(50*number) {
		t.Errorf("the heap grew from %d to %d KiB", before>>10, after>>10)
	}
}
