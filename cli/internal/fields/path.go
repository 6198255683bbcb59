// Package fields compares objects field by field, and names and prints their fields.
//
// A path has the form `spec.template.spec.containers[name=envoy].image`. An item of a list is
// named by the fields that identify it in the schema of its kind, or for lists without such
// fields by `name` or another usual field, if that is unique in the list; else by its index.
// A key that is not a plain name is in brackets: `data[kafka.json]`.
package fields

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// Element is an element of a path: a field, or an item of a list.
type Element struct {
	// Field is the name of a field or the key of a map; empty for an item.
	Field string
	// Keys and Values identify an item of a list; both are empty if Index does.
	Keys, Values []string
	Index        int
	isItem       bool
}

// Field returns the element for a field or for a key of a map.
func Field(name string) Element { return Element{Field: name} }

// Item returns the element for the item of a list at an index.
func Item(index int) Element { return Element{Index: index, isItem: true} }

// IsItem reports whether the element is an item of a list.
func (e Element) IsItem() bool { return e.isItem }

// plainName matches keys that need no brackets.
var plainName = regexp.MustCompile(`^[A-Za-z_$][\w$-]*$`)

// String returns the element as part of a path, with the separator before it.
func (e Element) String() string {
	switch {
	case e.isItem && len(e.Keys) > 0:
		pairs := make([]string, len(e.Keys))
		for i, key := range e.Keys {
			pairs[i] = key + "=" + e.Values[i]
		}
		return "[" + strings.Join(pairs, ",") + "]"
	case e.isItem:
		return fmt.Sprintf("[%d]", e.Index)
	case plainName.MatchString(e.Field):
		return "." + e.Field
	}
	return "[" + e.Field + "]"
}

// Path is the path of a field.
type Path []Element

// String returns the path in the form of the package's documentation.
func (p Path) String() string {
	text := &strings.Builder{}
	for _, element := range p {
		text.WriteString(element.String())
	}
	return strings.TrimPrefix(text.String(), ".")
}

// Child returns the path of a part of p. It never shares memory with another path.
func (p Path) Child(element Element) Path {
	return append(slices.Clip(p), element)
}

// Split returns the texts between dots and in brackets of a path: `spec`, `containers`,
// `[name=envoy]`, `image`. Dots in brackets separate nothing.
func Split(path string) ([]string, error) {
	var parts []string
	for rest := path; rest != ""; {
		if rest[0] == '[' {
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, fmt.Errorf("%s: a bracket is not closed", path)
			}
			parts = append(parts, rest[:end+1])
			rest = strings.TrimPrefix(rest[end+1:], ".")
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("%s: a name is missing", path)
		}
		parts = append(parts, rest[:end])
		rest = strings.TrimPrefix(rest[end:], ".")
	}
	return parts, nil
}

// Find returns the value at a path in an object, and the keys of maps (strings) and indexes
// of lists (ints) that lead to it. If there is no such value, the steps are those of the
// deepest part of the path that exists. Items may be named by any of their fields, or by
// index.
func Find(object map[string]any, path string) (value any, steps []any, found bool, err error) {
	parts, err := Split(path)
	if err != nil {
		return nil, nil, false, err
	}
	value = object
	for _, part := range parts {
		step, next, ok := enter(value, part)
		if !ok {
			return nil, steps, false, nil
		}
		steps, value = append(steps, step), next
	}
	return value, steps, true, nil
}

// enter returns the part of a value that one text of a path names.
func enter(value any, part string) (step, next any, found bool) {
	inner := strings.TrimSuffix(strings.TrimPrefix(part, "["), "]")
	switch value := value.(type) {
	case map[string]any:
		next, found = value[inner]
		return inner, next, found
	case []any:
		for i, item := range value {
			if matches(item, i, inner) {
				return i, item, true
			}
		}
	}
	return nil, nil, false
}

// matches reports whether `index` or `key=value,key=value` names an item of a list.
func matches(item any, index int, text string) bool {
	if text == fmt.Sprint(index) {
		return true
	}
	object, is := item.(map[string]any)
	if !is || !strings.Contains(text, "=") {
		return false
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, want, _ := strings.Cut(pair, "=")
		got, set := object[key]
		if !set && key == "protocol" {
			got = "TCP"
		}
		if fmt.Sprint(got) != want {
			return false
		}
	}
	return true
}

// usualKeys identify items of lists whose schema has no keys.
var usualKeys = [][]string{{"name"}, {"mountPath"}, {"containerPort"}, {"containerPort", "protocol"}, {"port"}, {"type"}, {"ip"}}

// Keys returns the fields that identify the items of lists, which have the same type, or nil
// if none are unique in each of them.
func Keys(list merge.Schema, lists ...[]any) []string {
	var candidates [][]string
	for _, keys := range list.Keys() {
		if len(keys) > 1 {
			candidates = append(candidates, keys[:1]) // often sufficient
		}
		candidates = append(candidates, keys)
	}
	if len(candidates) == 0 {
		candidates = usualKeys
	}
	for _, keys := range candidates {
		if identify(keys, lists) {
			return keys
		}
	}
	return nil
}

// identify reports whether keys are set and unique in each list. Empty lists do not count.
func identify(keys []string, lists [][]any) bool {
	some := false
	for _, list := range lists {
		seen := map[string]bool{}
		for _, item := range list {
			values, all := valuesOf(item, keys)
			id := strings.Join(values, "\x00")
			if !all || seen[id] {
				return false
			}
			seen[id], some = true, true
		}
	}
	return some
}

// valuesOf returns the values of fields of an item; all: each is set to a scalar.
func valuesOf(item any, keys []string) (values []string, all bool) {
	object, is := item.(map[string]any)
	if !is {
		return nil, false
	}
	for _, key := range keys {
		value, set := object[key]
		if !set && key == "protocol" {
			value = "TCP"
		}
		switch value.(type) {
		case string, int64, float64, bool:
		default:
			return nil, false
		}
		values = append(values, fmt.Sprint(value))
	}
	return values, true
}

// ItemOf returns the element for an item of a list: by keys, or without keys by index.
func ItemOf(item any, index int, keys []string) Element {
	element := Item(index)
	if values, all := valuesOf(item, keys); all && len(keys) > 0 {
		element.Keys, element.Values = keys, values
	}
	return element
}
