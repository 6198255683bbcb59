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

// mergeKind is the shape of a value, as far as merging cares.
type shape int

const (
	shapeUnknown shape = iota // no schema is known: an unregistered kind, raw JSON
	shapeObject               // a Go struct: a fixed set of fields
	shapeMap                  // a Go map: any key, one type of value
	shapeList                 // a Go slice
	shapeScalar               // what JSON has no parts of: string, number, bool, quantity, time, …
)

// mergeType is what the merge knows of a Go type of the Kubernetes API. It is
// compiled once per type and then only read.
type schemaType struct {
	shape  shape
	goType reflect.Type

	fields map[string]*fieldType // kindObject: by JSON name
	elem   *fieldType            // kindMap, kindList: the value or item

	unions        [][]string          // kindObject: sets of fields of which one at most may be set
	discriminated *discriminatedUnion // kindObject: nil if the type is none
}

// mergeField is a place for a value of a type: a field of an object, a value of
// a map, an item of a list. The struct tags that steer merging belong to the
// place and not to the type.
type fieldType struct {
	*schemaType

	optional      bool      // a pointer: {} says something that absence does not
	keys          []listKey // list whose items merge by these keys
	lastWins      bool      // keyed list in which one layer may give an item more than once
	matchPortName bool      // keyed list whose items are known by their name first
	set           bool      // list of scalars that merge as a set
	replace       bool      // replaced as a whole, whatever else is said here
}

// listKey is a field that is part of the identity of a list's items.
type listKey struct {
	name         string
	defaultValue string // of items that leave it out; "" if it must be there
}

// anyField stands for every value of which no schema is known.
var anyField = func() *fieldType {
	f := &fieldType{schemaType: &schemaType{shape: shapeUnknown}}
	f.elem = f
	return f
}()

// listKeys holds the identity of items where it is more than the one field that
// the patchMergeKey tag names. Server-side apply has it from the listMapKey
// markers, which are comments and so not to be read from the types; a test
// compares this table with its schema.
var listKeys = map[reflect.Type][]listKey{
	reflect.TypeFor[corev1.ContainerPort]():            {{name: "containerPort"}, {name: "protocol", defaultValue: "TCP"}},
	reflect.TypeFor[corev1.ServicePort]():              {{name: "port"}, {name: "protocol", defaultValue: "TCP"}},
	reflect.TypeFor[corev1.TopologySpreadConstraint](): {{name: "topologyKey"}, {name: "whenUnsatisfiable"}},
}

// namedPorts are the items that a user means by their name, if they have one:
// "make port http 9001" is not a second port http.
var namedPorts = map[reflect.Type]bool{
	reflect.TypeFor[corev1.ContainerPort](): true,
	reflect.TypeFor[corev1.ServicePort]():   true,
}

// distinctLists are lists that strategic merge replaces, but of which server-side apply
// wants no item twice: by these keys, or as a set where there are none. The same test
// holds them complete for what workloads are made of.
var uniqueAtomicLists = map[reflect.Type]map[string][]listKey{
	reflect.TypeFor[corev1.ResourceRequirements]():                    {"claims": {{name: "name"}}},
	reflect.TypeFor[corev1.VolumeMount]():                             {"bindMountOptions": nil},
	reflect.TypeFor[corev1.ContainerRestartRuleOnExitCodes]():         {"values": nil},
	reflect.TypeFor[batchv1.PodFailurePolicyOnExitCodesRequirement](): {"values": nil},
}

var (
	// builtinKinds are client-go's own, whatever a program adds to its global scheme.
	builtinKinds = sync.OnceValue(func() *runtime.Scheme {
		s := runtime.NewScheme()
		utilruntime.Must(clientgoscheme.AddToScheme(s))
		return s
	})

	typesByKind sync.Map // schema.GroupVersionKind → *mergeType

	typesByGo struct {
		sync.Mutex
		compiled map[reflect.Type]*schemaType
	}
)

// mergeTypeOf returns the compiled type of a built-in kind, and that of
// unknown JSON for any other kind.
func typeOf(gvk schema.GroupVersionKind) *schemaType {
	if known, ok := typesByKind.Load(gvk); ok {
		return known.(*schemaType)
	}
	object, err := builtinKinds().New(gvk)
	if err != nil {
		// Not kept: the set of foreign kinds has no bound.
		return anyField.schemaType
	}

	t := typeOfGo(reflect.TypeOf(object).Elem())
	typesByKind.Store(gvk, t)
	return t
}

// mergeTypeOfGo returns the compiled form of a Go type.
func typeOfGo(t reflect.Type) *schemaType {
	typesByGo.Lock()
	defer typesByGo.Unlock()
	if typesByGo.compiled == nil {
		typesByGo.compiled = map[reflect.Type]*schemaType{}
	}
	return compileType(t, typesByGo.compiled)
}

// compileType returns the merge type of a Go type. Types under way are in
// compiled already, so that a type may contain itself.
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

// isScalarInJSON tells whether a type with a JSON form of its own is a scalar
// there, as quantities and times are, and not raw JSON.
func isScalarInJSON(t reflect.Type) bool {
	typed, ok := reflect.TypeAssert[interface{ OpenAPISchemaType() []string }](reflect.New(t))
	return ok && typed.OpenAPISchemaType()[0] != "object"
}

// compileFields adds the fields of the struct type t, and of those that it
// inlines, to an object type.
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

// compileField reads the struct tags that Kubernetes' strategic merge goes by.
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
			// retainKeys is about making patches: unions do that work here.
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

// field returns the place that key has in an object, a map or unknown JSON; nil
// if an object has no such field.
func (t *schemaType) field(key string) *fieldType {
	if t.shape == shapeObject {
		return t.fields[key]
	}
	return t.elem
}

// ValidateScalarPath returns an error unless path, dotted names such as spec.replicas,
// leads to a field of a kind through objects only, not through lists or maps. Of kinds
// that are not built in the fields are not known, and every path is accepted.
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
