package v1alpha1

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestHasHugeExponent(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "1e": false, "e9999": false, "1Ei": false, "1e999": false, "1e-999": false, "1e+999Gi": false,
		"1e9999": true, "1E-9999": true, "1.e+99999": true, `{"a":"2e1","memory":"1e-1234"}`: true,
	} {
		if got := hasHugeExponent(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestHugeExponents decodes quantities whose parsing would last minutes. Without the check,
// the test times out.
func TestHugeExponents(t *testing.T) {
	for _, data := range []string{
		`{"overhead":{"cpu":"1","memory":"1e-99999999"}}`,
		`{"containers":[{"name":"a","resources":{"limits":{"memory":"1e-99999999"}}}]}`,
		`{"containers":[{"name":"a","env":[{"name":"A","valueFrom":{"resourceFieldRef":{"resource":"a","divisor":"1E-99999999"}}}]}]}`,
		`{"volumes":[{"name":"a","emptyDir":{"sizeLimit":"1e-99999999"}}]}`,
		`{"volumes":[{"name":"a","ephemeral":{"volumeClaimTemplate":{"spec":{"resources":{"requests":{"storage":"1.e-99999999"}}}}}}]}`,
	} {
		var spec PodSpec
		if err := spec.UnmarshalJSON([]byte(data)); err != nil {
			t.Fatal(err)
		}
		if _, err := spec.Raw(); err == nil || !strings.Contains(err.Error(), "exponent of the quantity is out of range") {
			t.Errorf("%s: %v", data, err)
		}
	}
	const harmless = `{"containers":[{"name":"a","args":["1e-99999999"],"env":[{"name":"COMMIT","value":"1e1234567"}]}]}`
	var spec PodSpec
	if err := spec.UnmarshalJSON([]byte(harmless)); err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Raw(); err != nil || spec.Containers[0].Args[0] != "1e-99999999" {
		t.Errorf("a text that looks like a quantity: %v, %v", err, spec.Containers)
	}
}

// TestEveryQuantityIsChecked walks the types of Kubernetes for fields that are quantities,
// so that it fails for a new one that is not checked.
func TestEveryQuantityIsChecked(t *testing.T) {
	found := map[string]bool{}
	var walk func(name string, typ reflect.Type, seen []reflect.Type)
	walk = func(name string, typ reflect.Type, seen []reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(name, typ.Elem(), seen)
		case reflect.Struct:
			if typ == reflect.TypeFor[resource.Quantity]() {
				found[name] = true
				return
			}
			if slices.Contains(seen, typ) {
				return
			}
			for field := range typ.Fields() {
				tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				walk(tag, field.Type, append(seen, typ))
			}
		default:
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[PodSpecFields](), reflect.TypeFor[corev1.PodSpec](),
		reflect.TypeFor[corev1.Container](), reflect.TypeFor[corev1.PersistentVolumeClaimSpec](),
	} {
		walk("", typ, nil)
	}
	want := slices.Concat(quantityMaps, quantityFields)
	for name := range found {
		if !slices.Contains(want, name) {
			t.Errorf("%s is not checked", name)
		}
	}
	for _, name := range want {
		if !found[name] {
			t.Errorf("no field %s holds quantities", name)
		}
	}
}
