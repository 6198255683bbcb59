package merge

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

// shape is the structure of a value.
type shape int

const (
	shapeUnknown shape = iota // the schema is unknown: an unregistered kind, raw JSON
	shapeObject               // a Go struct: a fixed set of fields
	shapeMap                  // a Go map: any keys, one type of values
	shapeList                 // a Go slice
	shapeScalar               // a value without parts in JSON: string, number, bool, quantity, time, …
)

// schemaType is the schema of a Go type of the Kubernetes API. It is compiled once for each
// type and then not changed.
type schemaType struct {
	shape  shape
	goType reflect.Type

	fields map[string]*fieldType // shapeObject: by JSON name
	elem   *fieldType            // shapeMap, shapeList: the value or item

	unions        [][]string          // shapeObject: sets of fields of which at most one may be set
	discriminated *discriminatedUnion // shapeObject: nil if the type is none
}

// fieldType is the type of a field of an object, a value of a map or an item of a list. The
// struct tags that control merging belong to the field and not to its type.
type fieldType struct {
	*schemaType

	optional      bool      // a pointer: {} differs from absence
	keys          []listKey // list map: its items merge by these keys
	lastWins      bool      // list map in which a layer may repeat an item; the last one is used
	matchPortName bool      // list map whose items are matched by name first
	set           bool      // list of scalars that merge as a set
	replace       bool      // replaced as a whole, whatever the other fields are
}

// listKey is a field that is part of the identity of the items of a list.
type listKey struct {
	name         string
	defaultValue string // of items without the field; "" if it is required
}

// anyField is the type of every value whose schema is unknown.
var anyField = func() *fieldType {
	f := &fieldType{schemaType: &schemaType{shape: shapeUnknown}}
	f.elem = f
	return f
}()

// listKeys has the keys of items for which they are not just the field in the patchMergeKey
// tag. Server-side apply has them from listMapKey markers, which are comments and cannot be
// read from the Go types; a test compares this table with its schema.
var listKeys = map[reflect.Type][]listKey{
	reflect.TypeFor[corev1.ContainerPort]():            {{name: "containerPort"}, {name: "protocol", defaultValue: "TCP"}},
	reflect.TypeFor[corev1.ServicePort]():              {{name: "port"}, {name: "protocol", defaultValue: "TCP"}},
	reflect.TypeFor[corev1.TopologySpreadConstraint](): {{name: "topologyKey"}, {name: "whenUnsatisfiable"}},
}

// namedPorts are the items that are matched by name if they have one: an override with port
// http 9001 changes the port http and does not add a second one.
var namedPorts = map[reflect.Type]bool{
	reflect.TypeFor[corev1.ContainerPort](): true,
	reflect.TypeFor[corev1.ServicePort]():   true,
}

// uniqueAtomicLists are lists that strategic merge replaces, but for which server-side apply
// requires unique items: by these keys, or as a set if there are none. The same test checks
// that the table is complete for the kinds that workloads consist of.
var uniqueAtomicLists = map[reflect.Type]map[string][]listKey{
	reflect.TypeFor[corev1.ResourceRequirements]():                    {"claims": {{name: "name"}}},
	reflect.TypeFor[corev1.VolumeMount]():                             {"bindMountOptions": nil},
	reflect.TypeFor[corev1.ContainerRestartRuleOnExitCodes]():         {"values": nil},
	reflect.TypeFor[batchv1.PodFailurePolicyOnExitCodesRequirement](): {"values": nil},
}

var (
	// builtinKinds returns the kinds of client-go. Its global scheme may have others in addition.
	builtinKinds = sync.OnceValue(func() *runtime.Scheme {
		s := runtime.NewScheme()
		utilruntime.Must(clientgoscheme.AddToScheme(s))
		return s
	})

	typesByKind sync.Map // schema.GroupVersionKind → *schemaType

	typesByGo struct {
		sync.Mutex
		compiled map[reflect.Type]*schemaType
	}
)

// typeOf returns the compiled type of a built-in kind, and the type of unknown JSON for any
// other kind.
func typeOf(gvk schema.GroupVersionKind) *schemaType {
	if known, ok := typesByKind.Load(gvk); ok {
		return known.(*schemaType)
	}
	object, err := builtinKinds().New(gvk)
	if err != nil {
		// Not cached, because the number of other kinds is unbounded.
		return anyField.schemaType
	}

	t := typeOfGo(reflect.TypeOf(object).Elem())
	typesByKind.Store(gvk, t)
	return t
}

// typeOfGo returns the compiled form of a Go type.
func typeOfGo(t reflect.Type) *schemaType {
	typesByGo.Lock()
	defer typesByGo.Unlock()
	if typesByGo.compiled == nil {
		typesByGo.compiled = map[reflect.Type]*schemaType{}
	}
	return compileType(t, typesByGo.compiled)
}

// compileType returns the compiled form of a Go type. A type is in compiled before it is
// complete, so that it may contain itself.
func compileType(t reflect.Type, compiled map[reflect.Type]*schemaType) *schemaType {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known, ok := compiled[t]; ok {
		return known
	}
	result := &schemaType{goType: t}
	compiled[t] = result

	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		result.shape = shapeScalar
		if !isScalarInJSON(t) {
			return anyField.schemaType
		}
	case t.Kind() == reflect.Struct:
		result.shape = shapeObject
		result.fields = map[string]*fieldType{}
		compileFields(result, t, compiled)
		result.discriminated = discriminatedUnionOf(result)
	case t.Kind() == reflect.Map:
		result.shape = shapeMap
		result.elem = &fieldType{schemaType: compileType(t.Elem(), compiled), optional: true}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		result.shape = shapeList
		result.elem = &fieldType{schemaType: compileType(t.Elem(), compiled)}
	case t.Kind() == reflect.Interface:
		return anyField.schemaType
	default:
		result.shape = shapeScalar
	}
	return result
}

// isScalarInJSON reports whether a type with its own JSON encoding is a scalar there, like
// quantities and times, and not raw JSON.
func isScalarInJSON(t reflect.Type) bool {
	typed, ok := reflect.TypeAssert[interface{ OpenAPISchemaType() []string }](reflect.New(t))
	return ok && typed.OpenAPISchemaType()[0] != "object"
}

// compileFields adds the fields of the struct type t, and of the types that it inlines, to an
// object type.
func compileFields(object *schemaType, t reflect.Type, compiled map[reflect.Type]*schemaType) {
	var own []string
	for goField := range t.Fields() {
		name, _, _ := strings.Cut(goField.Tag.Get("json"), ",")
		if name == "-" || !goField.IsExported() {
			continue
		}
		if name == "" && goField.Anonymous {
			compileFields(object, goField.Type, compiled)
			continue
		}
		own = append(own, name)
		field := compileField(goField, compiled)
		if keys, ok := uniqueAtomicLists[t][name]; ok {
			field.replace, field.keys, field.set = true, keys, keys == nil
		}
		object.fields[name] = field
	}
	object.unions = append(object.unions, unionsOf(t, own)...)
}

// compileField compiles a field from the struct tags that strategic merge uses.
func compileField(goField reflect.StructField, compiled map[reflect.Type]*schemaType) *fieldType {
	field := &fieldType{
		schemaType: compileType(goField.Type, compiled),
		optional:   goField.Type.Kind() == reflect.Pointer,
	}
	mergeKey := goField.Tag.Get("patchMergeKey")
	for strategy := range strings.SplitSeq(goField.Tag.Get("patchStrategy"), ",") {
		switch {
		case strategy == patchReplace:
			field.replace = true
		case strategy != patchMerge || field.shape != shapeList:
			// retainKeys is for computing patches; unions clear the other members here.
		case mergeKey == "":
			field.set = true
		default:
			item := field.elem.goType
			field.keys = listKeys[item]
			if field.keys == nil {
				field.keys = []listKey{{name: mergeKey}}
			}
			field.matchPortName = namedPorts[item]
			field.lastWins = item == reflect.TypeFor[corev1.EnvVar]()
		}
	}
	return field
}

// field returns the type of the value of key in an object, a map or unknown JSON; nil if an
// object has no such field.
func (t *schemaType) field(key string) *fieldType {
	if t.shape == shapeObject {
		return t.fields[key]
	}
	return t.elem
}

// ValidateScalarPath returns an error unless path, dotted names such as spec.replicas, is the
// path of a field of a kind through objects only, not through lists or maps. The fields of
// kinds that are not built in are unknown, so that every path is valid.
func ValidateScalarPath(kind schema.GroupVersionKind, path string) error {
	field := &fieldType{schemaType: typeOf(kind)}
	for name := range strings.SplitSeq(path, ".") {
		if field = field.field(name); field == nil || name == "" {
			return fmt.Errorf("%s has no field %s: give the path of one, such as spec.replicas", kind.Kind, path)
		}
		if field.shape == shapeList || field.shape == shapeMap {
			return fmt.Errorf("%s goes through a list or a map, in which a single entry cannot be sent at creation only", path)
		}
	}
	return nil
}

// ValidateMetadata checks the types of the fields of an object's metadata.
func ValidateMetadata(metadata map[string]any) FieldErrors {
	_, errs := typeOfGo(reflect.TypeFor[metav1.ObjectMeta]()).mergeObject(nil, metadata)
	return errs
}
