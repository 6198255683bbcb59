package cached

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// cachedDeployment returns a Deployment as a watch returns it, which shares nothing.
func cachedDeployment(owner types.UID, image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "of-" + string(owner), Name: "shop", UID: "shop-of-" + owner, ResourceVersion: "7",
			Labels:          map[string]string{"app": "shop"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Shop", Name: "shop", UID: owner, Controller: new(true)}},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{
					Manager: internTestOptions.FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsType: "FieldsV1",
					FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:ownerReferences":{"k:{\"uid\":\"` + string(owner) + `\"}":{}}},"f:spec":{"f:template":{}}}`),
				},
				{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)},
			},
		},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
		}},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
	}
}

func transformed[T client.Object](t *testing.T, obj T) T {
	t.Helper()
	out, err := Transform(internTestOptions)(obj)
	if err != nil {
		t.Fatal(err)
	}
	return out.(T)
}

func TestTransformSharesEqualParts(t *testing.T) {
	one := transformed(t, cachedDeployment("0a0a-1", "web:1"))
	same := transformed(t, cachedDeployment("0a0a-2", "web:1"))
	other := transformed(t, cachedDeployment("0a0a-3", "web:2"))
	image := func(d *appsv1.Deployment) *corev1.Container { return &d.Spec.Template.Spec.Containers[0] }
	if image(one) != image(same) {
		t.Error("equal specs are not shared")
	}
	if image(one) == image(other) || image(one).Image != "web:1" || image(other).Image != "web:2" {
		t.Error("different pod templates are shared")
	}
	if len(one.ManagedFields) != 1 || one.ManagedFields[0].FieldsV1 != same.ManagedFields[0].FieldsV1 {
		t.Errorf("equal field ownership is not shared, or that of other managers is not removed: %v", one.ManagedFields)
	}
	one.Labels["probe"] = ""
	if _, shared := same.Labels["probe"]; !shared {
		t.Error("equal labels are not shared")
	}
	delete(one.Labels, "probe")
	for _, data := range []map[string]string{{"a": "b", "c": ""}, {"a": "", "b": "c"}} {
		if got := transformed(t, &corev1.ConfigMap{Data: map[string]string{"a": data["a"], "c": data["c"], "b": data["b"]}}); got.Data["a"] != data["a"] {
			t.Errorf("%v became %v", data, got.Data)
		}
	}
}

// The hash of an object that the API server returned is compared with that of the cached
// object, so the two must be equal.
func TestInternedFormHasTheSameHash(t *testing.T) {
	for _, obj := range []client.Object{
		cachedDeployment("0b0b", "web:1"),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{"a": "b"}},
	} {
		gvk := appsv1.SchemeGroupVersion.WithKind("Deployment")
		plain, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			t.Fatal(err)
		}
		plain["apiVersion"], plain["kind"] = gvk.GroupVersion().String(), gvk.Kind
		for range 2 { // the second time from the table
			interned, err := FromTyped(transformed(t, obj.DeepCopyObject().(client.Object)), gvk)
			if err != nil {
				t.Fatal(err)
			}
			expected := interned.DeepCopy()
			expected.Object = plain
			if LiveHash(interned, internTestOptions.FieldManager) != LiveHash(expected, internTestOptions.FieldManager) {
				t.Errorf("differs: %s", cmp.Diff(plain, interned.Object))
			}
			if diff := cmp.Diff(plain["status"], interned.Object["status"]); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestInternTableIsBounded(t *testing.T) {
	bounded := newInternTable[int, int](2)
	for i := range 10 {
		bounded.intern(i, i)
	}
	if bounded.values.Len() != 2 {
		t.Errorf("%d values in a table of 2", bounded.values.Len())
	}
}

// Equal values have equal hashes, and different values have different hashes.
func TestMemoryHashDistinguishesValues(t *testing.T) {
	values := []any{
		nil, true, false, "", "true", "a", int64(0), int64(1), 0.5, []any{}, []any{nil}, []any{[]any{}}, []any{"a", "b"}, []any{"ab"},
		map[string]any{}, map[string]any{"a": nil}, map[string]any{"a": "b"}, map[string]any{"ab": ""}, map[string]any{"a": map[string]any{"b": "c"}},
		map[string]any{"a": map[string]any{}, "b": "c"}, map[string]any{"a": int64(1), "b": int64(2)}, map[string]any{"a": int64(2), "b": int64(1)},
	}
	seen := map[object.Hash]any{}
	for _, value := range values {
		hash := object.MemoryHash(value)
		if other, found := seen[hash]; found {
			t.Errorf("%#v and %#v have the same hash", value, other)
		}
		seen[hash] = value
		if again := object.MemoryHash(runtime.DeepCopyJSONValue(value)); again != hash {
			t.Errorf("%#v has two hashes", value)
		}
	}
}

var internTestOptions = object.Options{FieldManager: "sites", KeyPrefix: "sites.example.com/"}
