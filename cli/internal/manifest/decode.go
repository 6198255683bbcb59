package manifest

import (
	gojson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/json"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// kinds has the operator's kinds.
var kinds = func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		panic(err) // two types of one kind
	}
	return s
}()

// Decode decodes an object of one of the operator's kinds. The error has all fields that
// are unknown, and the first that has a wrong type, with their paths.
func Decode(object *unstructured.Unstructured) (client.Object, error) {
	typed, errs := decodeFields(object)
	var joined []error
	for _, err := range errs {
		joined = append(joined, err)
	}
	return typed, errors.Join(joined...)
}

// decodeFields is [Decode] with an error for each field. The object is nil if it cannot be
// decoded.
func decodeFields(object *unstructured.Unstructured) (client.Object, []fieldError) {
	gvk := object.GroupVersionKind()
	created, err := kinds.New(gvk)
	typed, is := created.(client.Object)
	if err != nil || !is {
		return nil, []fieldError{{message: fmt.Sprintf("the operator has no kind %s in version %s", gvk.Kind, gvk.Version)}}
	}
	if errs := decodeStrict(object.Object, typed, ""); len(errs) > 0 {
		return nil, errs
	}
	return typed, checkRaw(reflect.ValueOf(typed).Elem(), "")
}

// decodeStrict decodes JSON at a path into a Go value. Unknown fields are errors.
func decodeStrict(content, into any, path string) []fieldError {
	text, err := gojson.Marshal(content)
	if err != nil {
		return []fieldError{{path, err.Error()}}
	}
	var errs []fieldError
	unknown, err := json.UnmarshalStrict(text, into)
	if wrong, is := errors.AsType[*gojson.UnmarshalTypeError](err); is {
		errs = append(errs, fieldError{join(path, wrong.Field), fmt.Sprintf("is a %s, must be %s", wrong.Value, typeName(wrong.Type))})
	} else if err != nil {
		errs = append(errs, fieldError{path, err.Error()})
	}
	for _, each := range unknown {
		message := each.Error()
		if field, is := errors.AsType[json.FieldError](each); is && strings.HasPrefix(message, "unknown field") {
			errs = append(errs, fieldError{join(path, field.FieldPath()), messageUnknown})
		} else {
			errs = append(errs, fieldError{path, message})
		}
	}
	return errs
}

// messageUnknown is the message of a field that the kind does not have.
const messageUnknown = "is not a known field; correct or remove it"

// typeName describes a Go type as JSON.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return "an integer"
	default:
		return "a " + t.Kind().String()
	}
}

// checkRaw checks the values below v that keep their JSON, and that decoding of the whole
// object therefore accepts.
func checkRaw(v reflect.Value, path string) []fieldError {
	if v.CanAddr() {
		switch raw := v.Addr().Interface().(type) {
		case *v1alpha1.PodSpec:
			_, err := raw.Raw()
			return checkFields(raw, &v1alpha1.PodSpecFields{}, err, path)
		case *v1alpha1.CorePodSpec:
			_, err := raw.Raw()
			return checkFields(raw, &corev1.PodSpec{}, err, path)
		case *v1alpha1.PersistentVolumeClaimSpec:
			_, err := raw.Raw()
			return checkFields(raw, &corev1.PersistentVolumeClaimSpec{}, err, path)
		case *v1alpha1.Container:
			return checkFields(raw, &corev1.Container{}, nil, path)
		case runtime.Object:
		case gojson.Unmarshaler:
			return nil
		}
	}
	var errs []fieldError
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			errs = checkRaw(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			errs = append(errs, checkRaw(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.IsExported() && name != "-" && name != "metadata" {
				errs = append(errs, checkRaw(v.Field(i), join(path, name))...)
			}
		}
	default: // a scalar, or a map of scalars
	}
	return errs
}

// checkFields decodes the JSON of a value at path strictly into fields. decodeErr is the
// error of decoding it as the operator does.
func checkFields(raw, fields any, decodeErr error, path string) []fieldError {
	if errs := decodeStrict(raw, fields, path); len(errs) > 0 {
		return errs
	}
	if decodeErr != nil {
		return []fieldError{{path, decodeErr.Error()}}
	}
	return nil
}

// join appends a field to a path; both may be empty.
func join(path, field string) string {
	if path == "" || field == "" {
		return path + field
	}
	return path + "." + field
}
