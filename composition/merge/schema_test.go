package merge

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/applyconfigurations"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// TestListIdentity compares the keys of list items with those of server-side apply, in the
// schema that client-go has for it: for each kind that workloads consist of, the same lists
// merge by the same keys.
func TestListIdentity(t *testing.T) {
	groups := []string{"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
	kinds := 0
	for gvk, goType := range builtinKinds().AllKnownTypes() {
		if !slices.Contains(groups, gvk.Group) || len(gvk.Version) > 2 || gvk.Kind == "Scale" || gvk.Kind == "Node" {
			continue
		}
		if applyconfigurations.ForKind(gvk) == nil || !hasMetadata(goType) {
			continue
		}
		kinds++
		object := reflect.New(goType).Interface().(runtime.Object)
		object.GetObjectKind().SetGroupVersionKind(gvk)
		typed, err := applyconfigurations.NewTypeConverter(builtinKinds()).ObjectToTyped(object)
		if err != nil {
			t.Fatalf("%s: %v", gvk, err)
		}
		applied := map[string]string{}
		collectAppliedLists(applied, typed.Schema(), typed.TypeRef(), "")
		merged := map[string]string{}
		collectMergedLists(merged, &fieldType{schemaType: typeOf(gvk)}, "")
		if diff := cmp.Diff(applied, merged); diff != "" {
			t.Errorf("%s: lists that server-side apply (-) and StrategicMerge (+) merge by item:\n%s", gvk, diff)
		}
	}
	if kinds < 20 {
		t.Errorf("compared %d kinds only", kinds)
	}
}

func hasMetadata(goType reflect.Type) bool {
	_, ok := goType.FieldByName("ObjectMeta")
	return ok
}

func collectAppliedLists(found map[string]string, s *smdschema.Schema, ref smdschema.TypeRef, path string) {
	atom, _ := s.Resolve(ref)
	switch {
	case strings.Contains(path, ".status"):
	case ref.NamedType != nil && strings.HasPrefix(*ref.NamedType, "__untyped"): // raw JSON
	case atom.List != nil:
		if atom.List.ElementRelationship == smdschema.Associative {
			item, _ := s.Resolve(atom.List.ElementType)
			var keys []listKey
			for _, name := range atom.List.Keys {
				key := listKey{name: name}
				// The schema has a default of 0 for numbers, which means no default here.
				if field, ok := item.Map.FindField(name); ok && field.Default != nil && fmt.Sprint(field.Default) != "0" {
					key.defaultValue = fmt.Sprint(field.Default)
				}
				keys = append(keys, key)
			}
			found[path] = fmt.Sprint(keys)
		}
		collectAppliedLists(found, s, atom.List.ElementType, path+"[]")
	case atom.Map != nil:
		for _, field := range atom.Map.Fields {
			collectAppliedLists(found, s, field.Type, path+"."+field.Name)
		}
	}
}

func collectMergedLists(found map[string]string, f *fieldType, path string) {
	switch {
	case strings.Contains(path, ".status"):
	case f.shape == shapeObject:
		for name, field := range f.fields {
			collectMergedLists(found, field, path+"."+name)
		}
	case f.shape == shapeList:
		if f.keys != nil || f.set {
			found[path] = fmt.Sprint(f.keys)
		}
		collectMergedLists(found, f.elem, path+"[]")
	}
}

// TestCompiledTypesAreSupported checks every type of every built-in kind for the assumptions of
// the merge.
func TestCompiledTypesAreSupported(t *testing.T) {
	for gvk := range builtinKinds().AllKnownTypes() {
		typeOf(gvk)
	}
	for goType, compiled := range typesByGo.compiled {
		for name, field := range compiled.fields {
			at := fmt.Sprintf("%s.%s", goType, name)
			if len(field.keys) > len(itemKey{}) {
				t.Errorf("%s: %d keys do not fit", at, len(field.keys))
			}
			if field.keys != nil && field.elem.shape != shapeObject {
				t.Errorf("%s: list map with items that are not objects", at)
			}
			for _, key := range field.keys {
				if field.elem.fields[key.name] == nil {
					t.Errorf("%s: items have no field %s", at, key.name)
				}
			}
			if field.set && field.elem.shape != shapeScalar {
				t.Errorf("%s: set with items that are not scalars", at)
			}
		}
		for _, union := range compiled.unions {
			for _, name := range union {
				if len(union) < 2 || compiled.fields[name] == nil {
					t.Errorf("%s: union %v", goType, union)
				}
			}
		}
		if compiled.shape == shapeScalar && compiled.goType.Kind() == reflect.Struct &&
			!reflect.PointerTo(goType).Implements(reflect.TypeFor[json.Unmarshaler]()) {
			t.Errorf("%s: a scalar with fields", goType)
		}
	}
}

// TestUnionsAreFound checks which types have unions. Inlined unions belong to the type that
// inlines them.
func TestUnionsAreFound(t *testing.T) {
	typeOf(deploymentKind)
	typeOf(statefulSetKind)
	var unions, discriminated []string
	for goType, compiled := range typesByGo.compiled {
		if goType.PkgPath() != "k8s.io/api/core/v1" && goType.PkgPath() != "k8s.io/api/apps/v1" {
			continue
		}
		if len(compiled.unions) > 0 {
			unions = append(unions, goType.Name())
		}
		if compiled.discriminated != nil {
			discriminated = append(discriminated, goType.Name())
		}
	}
	slices.Sort(unions)
	slices.Sort(discriminated)
	for _, name := range []string{"EnvFromSource", "EnvVar", "EnvVarSource", "LifecycleHandler", "PodResourceClaim", "Probe", "Volume", "VolumeProjection"} {
		if !slices.Contains(unions, name) {
			t.Errorf("%s is not a union; unions are %v", name, unions)
		}
	}
	for _, name := range []string{"AppArmorProfile", "DeploymentStrategy", "SeccompProfile", "StatefulSetUpdateStrategy"} {
		if !slices.Contains(discriminated, name) {
			t.Errorf("%s is not a discriminated union; these are %v", name, discriminated)
		}
	}
}

func TestUnknownKindsAreNotCached(t *testing.T) {
	foreign := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foreign"}
	if got := typeOf(foreign); got.shape != shapeUnknown {
		t.Errorf("kind %v", got.shape)
	}
	if _, cached := typesByKind.Load(foreign); cached {
		t.Error("an unknown kind is cached, and their number is unbounded")
	}
	if slices.Collect(maps.Keys(typeOf(foreign).fields)) != nil {
		t.Error("has fields")
	}
}

func TestValidateScalarPath(t *testing.T) {
	for path, want := range map[string]string{
		"spec.replicas":              "",
		"spec.strategy.type":         "",
		"spec.replica":               "has no field spec.replica",
		"spec..replicas":             "has no field spec..replicas",
		"replicas":                   "has no field replicas",
		"metadata.labels.a":          "goes through a list or a map",
		"spec.template.spec.volumes": "goes through a list or a map",
	} {
		err := ValidateScalarPath(deploymentKind, path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if err := ValidateScalarPath(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Site"}, "spec.size"); err != nil {
		t.Errorf("a kind that is not built in: %v", err)
	}
}
