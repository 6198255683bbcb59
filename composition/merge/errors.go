package merge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// FieldError is the error of one field of an override.
type FieldError struct {
	Path    string // from the object that the current function merges to the field
	Message string
}

// FieldErrors are all errors of an override. Their paths are completed by [FieldErrors.Prefix]
// while the merge returns, so that a merge without errors computes no paths.
type FieldErrors []FieldError

// Prefix adds a path segment to the start of the paths of all errors, in place.
func (e FieldErrors) Prefix(segment string) FieldErrors {
	for i := range e {
		switch path := e[i].Path; {
		case path == "":
			e[i].Path = segment
		case strings.HasPrefix(path, "["):
			e[i].Path = segment + path
		default:
			e[i].Path = segment + "." + path
		}
	}
	return e
}

// maxFieldErrors is the maximum number of errors in a message.
const maxFieldErrors = 50

// Err returns one error with all messages on one line, sorted by path. At most 50 are listed.
func (e FieldErrors) Err() error {
	slices.SortFunc(e, func(a, b FieldError) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	var messages []string
	distinct := slices.Compact(e)
	for i, err := range distinct {
		if i == maxFieldErrors {
			messages = append(messages, fmt.Sprintf("and %d more", len(distinct)-i))
			break
		}
		if err.Path != "" {
			err.Message = err.Path + ": " + err.Message
		}
		messages = append(messages, err.Message)
	}
	return errors.New(strings.Join(messages, "; "))
}

// segment returns the path segment of a key: in brackets unless it is the name of a field.
func (t *schemaType) segment(key string) string {
	if t.shape == shapeMap || strings.ContainsAny(key, "./[] ") || key == "" {
		return "[" + key + "]"
	}
	return key
}

// index returns the path segment of an item without key.
func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// itemSegment returns the path segment of an item of a list map.
func (f *fieldType) itemSegment(item map[string]any, position int) string {
	if f.matchPortName {
		if name, ok := item["name"].(string); ok && name != "" {
			return "[name=" + name + "]"
		}
	}
	var parts []string
	for _, key := range f.keys {
		if _, present := item[key.name]; present {
			parts = append(parts, key.name+"="+keyValue(item, key))
		}
	}
	if len(parts) == 0 {
		return index(position)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// TypeErrors returns the error of a value that is not of the type of its field. want is a
// noun with its article, such as "a string".
func TypeErrors(want string, got any) FieldErrors {
	return FieldErrors{{Message: fmt.Sprintf("must be %s, not %s", want, TypeName(got))}}
}

// TypeName returns the name of the JSON type of a value, with its article.
func TypeName(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a bool"
	case int64, float64:
		return "a number"
	default:
		return fmt.Sprintf("a Go %T", value)
	}
}

// Truncate returns a value as JSON for a message, truncated to 60 characters.
func Truncate(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return TypeName(value)
	}
	const limit = 60
	if runes := bytes.Runes(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return string(text)
}

// checkLeaf returns the errors of a value of a scalar type.
func (t *schemaType) checkLeaf(value any) FieldErrors {
	var ok bool
	want := "a string"
	switch kind := t.goType.Kind(); {
	case reflect.PointerTo(t.goType).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return t.checkDecodes(value)
	case kind == reflect.String:
		_, ok = value.(string)
	case kind == reflect.Slice: // bytes
		if _, ok = value.(string); ok {
			return t.checkDecodes(value)
		}
	case kind == reflect.Bool:
		want = "true or false"
		_, ok = value.(bool)
	case kind == reflect.Float32 || kind == reflect.Float64:
		want = "a number"
		_, ok = value.(float64)
		if !ok {
			_, ok = value.(int64)
		}
	default:
		want = "an integer"
		var number int64
		switch value := value.(type) {
		case int64:
			number, ok = value, true
		case float64:
			if value != math.Trunc(value) || math.Abs(value) > 1<<53 {
				return FieldErrors{{Message: "must be an integer, not " + Truncate(value)}}
			}
			number, ok = int64(value), true
		}
		if ok && overflows(t.goType, number) {
			return FieldErrors{{Message: fmt.Sprintf("%d is out of range", number)}}
		}
	}
	if ok {
		return nil
	}
	return TypeErrors(want, value)
}

// hugeExponent matches exponents that take the parser of quantities unbounded time: more
// than a minute for 1e-99999999.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)

// checkDecodes checks a value by decoding it into its Go type: quantities, times, ports.
func (t *schemaType) checkDecodes(value any) FieldErrors {
	if _, isBool := value.(bool); isBool || !isScalar(value) {
		return TypeErrors("a string or number", value)
	}
	text, err := json.Marshal(value)
	if err == nil && t.goType == reflect.TypeFor[resource.Quantity]() && hugeExponent.Match(text) {
		return FieldErrors{{Message: Truncate(value) + ": the exponent of the quantity is out of range"}}
	}
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t.goType).Interface())
	}
	if err != nil {
		return FieldErrors{{Message: fmt.Sprintf("%s: %v", Truncate(value), err)}}
	}
	return nil
}

// overflows reports whether a number is outside the range of an integer type.
func overflows(t reflect.Type, number int64) bool {
	switch t.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return number < 0 || t.OverflowUint(uint64(number))
	default:
		return t.OverflowInt(number)
	}
}

// isScalar reports whether a value is a string, number or bool.
func isScalar(value any) bool {
	switch value.(type) {
	case string, bool, int64, float64:
		return true
	default:
		return false
	}
}

// scalarSet is a set of JSON scalars. Numbers of different Go types differ.
type scalarSet map[any]struct{}

// add adds a scalar and reports whether it was absent. A value that is not a scalar equals
// no other value: it is not added, and reported as absent.
func (s scalarSet) add(value any) bool {
	if !isScalar(value) {
		return true
	}
	before := len(s)
	s[value] = struct{}{}
	return len(s) > before
}

// contains reports whether a value is in the set.
func (s scalarSet) contains(value any) bool {
	if !isScalar(value) {
		return false
	}
	_, found := s[value]
	return found
}
