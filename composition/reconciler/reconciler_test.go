package reconciler

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

// indexer adds indexes to the builder of a fake client.
type indexer struct{ *fake.ClientBuilder }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.WithIndex(object, field, extract)
	return nil
}

// newWidgetReconciler returns a Reconciler that expands widgets into a ConfigMap by a
// Kustomize folder, and its client.
func newWidgetReconciler(t *testing.T, input func(*widget) (composition.Input, error), objects ...client.Object) (*Reconciler[*widget], client.Client) {
	t.Helper()
	kinds := []composition.Kind{{Object: &corev1.ConfigMap{}}}
	builder := fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(objects...).WithStatusSubresource(&widget{})
	if err := composition.Index(t.Context(), indexer{builder}, kinds); err != nil {
		t.Fatal(err)
	}
	c := builder.Build()
	compiled, err := composition.LoadTemplates(fstest.MapFS{
		"widget/kustomization.yaml": {Data: []byte("resources: [configmap.yaml]\n")},
		"widget/configmap.yaml":     {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: widget}\ndata: {size: small}\n")},
	}, "widgets.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	engine, err := composition.New(composition.Config{
		Templates: compiled, Options: composition.Options{FieldManager: "widgets", KeyPrefix: "widgets.example.com/"},
		Kinds: kinds, Client: c, APIReader: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler[*widget]{
		Engine: engine,
		Input:  func(_ context.Context, object *widget) (composition.Input, error) { return input(object) },
		Conditions: func(*widget, composition.Result) []metav1.Condition {
			return []metav1.Condition{True("Painted", "Red", "")}
		},
	}
	r.composer = NewComposer(NewBase(widgetKind, Options{Client: c, Recorder: events.NewFakeRecorder(100), FieldManager: "widgets"}), engine)
	return r, c
}

func widgetInput(object *widget) (composition.Input, error) {
	return composition.Input{Namespace: object.Namespace, Templates: []composition.TemplateRef{{Folder: "widget"}}, Layers: []composition.Layer{{
		Source: "Widget " + object.Name,
		Overlays: func() ([]composition.Overlay, error) {
			return []composition.Overlay{{
				Path: "spec", Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Name: "widget",
				Content: map[string]any{"data": map[string]any{"size": object.Spec.Size}},
			}}, nil
		},
	}}}, nil
}

// A widget is expanded, its drift is reverted, and its child object is deleted before it.
func TestReconcilerExpandsRevertsAndDeletes(t *testing.T) {
	stored := &widget{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "w", UID: "1", Generation: 1}, Spec: widgetSpec{Size: "large"}}
	r, c := newWidgetReconciler(t, widgetInput, stored)
	request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stored)}
	run := func() {
		t.Helper()
		if result, err := r.Reconcile(t.Context(), request); err != nil || result.RequeueAfter != 0 {
			t.Fatalf("%v, %v", result, err)
		}
	}
	child := func() *corev1.ConfigMap {
		t.Helper()
		configMap := &corev1.ConfigMap{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "team", Name: "widget"}, configMap); err != nil {
			t.Fatal(err)
		}
		return configMap
	}
	run()
	object := &widget{}
	if err := c.Get(t.Context(), request.NamespacedName, object); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, condition := range object.Status.Conditions {
		got = append(got, condition.Type+" "+string(condition.Status))
	}
	if diff := cmp.Diff([]string{"Painted True", "Ready True"}, got); diff != "" || object.Status.ObservedGeneration != 1 {
		t.Errorf("generation %d, conditions %s", object.Status.ObservedGeneration, diff)
	}
	configMap := child()
	if diff := cmp.Diff(map[string]string{"size": "large"}, configMap.Data); diff != "" || !metav1.IsControlledBy(configMap, object) {
		t.Errorf("controlled by %v, %s", configMap.OwnerReferences, diff)
	}

	configMap.Data["size"] = "changed"
	if err := c.Patch(t.Context(), configMap, client.Merge, client.FieldOwner("someone")); err != nil {
		t.Fatal(err)
	}
	run()
	if size := child().Data["size"]; size != "large" {
		t.Errorf("drift to %q is not reverted", size)
	}

	if err := c.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		run()
	}
	for _, each := range []client.Object{&widget{ObjectMeta: stored.ObjectMeta}, &corev1.ConfigMap{ObjectMeta: configMap.ObjectMeta}} {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(each), each); !apierrors.IsNotFound(err) {
			t.Errorf("%T exists after its deletion: %v", each, err)
		}
	}
	if number := r.composer.Remembered(); number != 0 {
		t.Errorf("%d records remain", number)
	}
}

// Errors of Input are reported by their class.
func TestReconcilerReportsInputErrors(t *testing.T) {
	for name, test := range map[string]struct {
		err            error
		reason, second string
		requeues       bool
	}{
		"missing": {&MissingInputError{Err: errors.New("no config")}, ReasonConfigNotFound, ConditionReconciling, true},
		"invalid": {&composition.RenderError{Err: errors.New("bad size")}, ReasonRenderFailed, ConditionStalled, false},
	} {
		t.Run(name, func(t *testing.T) {
			stored := &widget{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "w", UID: "1", Generation: 1}}
			r, c := newWidgetReconciler(t, func(*widget) (composition.Input, error) { return composition.Input{}, test.err }, stored)
			result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stored)})
			if err != nil || (result.RequeueAfter > 0) != test.requeues {
				t.Errorf("%v, %v", result, err)
			}
			object := &widget{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(stored), object); err != nil {
				t.Fatal(err)
			}
			ready := meta.FindStatusCondition(object.Status.Conditions, ConditionReady)
			if ready == nil || ready.Reason != test.reason || !meta.IsStatusConditionTrue(object.Status.Conditions, test.second) {
				t.Errorf("conditions %v", object.Status.Conditions)
			}
		})
	}
}
