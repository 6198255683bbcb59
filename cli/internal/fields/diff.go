package fields

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// Change is the difference of one field.
type Change struct {
	// Path as text, and its elements.
	Path     string
	Elements Path
	// Old and New are the values; nil if the field is absent.
	Old, New any
}

// Diff returns the differences between two objects of a kind, in the order of their paths:
// scalars that differ, and maps, lists and items that only one of the two has, each as a
// whole. The changes share parts with the objects.
func Diff(kind schema.GroupVersionKind, before, after map[string]any) []Change {
	d := &differ{}
	d.maps(nil, merge.SchemaOf(kind), before, after)
	return d.changes
}

// WithoutBookkeeping returns an object without the fields that the API server maintains, and
// without its status. It shares the rest with object.
func WithoutBookkeeping(object map[string]any) map[string]any {
	result := maps.Clone(object)
	delete(result, "status")
	if metadata, is := object["metadata"].(map[string]any); is {
		metadata = maps.Clone(metadata)
		for _, key := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
			delete(metadata, key)
		}
		result["metadata"] = metadata
	}
	return result
}

type differ struct{ changes []Change }

func (d *differ) add(path Path, before, after any) {
	d.changes = append(d.changes, Change{Path: path.String(), Elements: path, Old: before, New: after})
}

func (d *differ) values(path Path, schema merge.Schema, before, after any) {
	switch typed := before.(type) {
	case map[string]any:
		if other, is := after.(map[string]any); is {
			d.maps(path, schema, typed, other)
			return
		}
	case []any:
		if other, is := after.([]any); is {
			d.lists(path, schema, typed, other)
			return
		}
	}
	if !Equal(before, after) {
		d.add(path, before, after)
	}
}

func (d *differ) maps(path Path, schema merge.Schema, before, after map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(union(before, after))) {
		d.values(path.Child(Field(key)), schema.Field(key), before[key], after[key])
	}
}

func union(a, b map[string]any) map[string]bool {
	keys := make(map[string]bool, len(a)+len(b))
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return keys
}

func (d *differ) lists(path Path, schema merge.Schema, before, after []any) {
	keys := Keys(schema, before, after)
	items := schema.Items()
	for _, pair := range Match(keys, before, after) {
		switch {
		case pair.Old < 0:
			d.add(path.Child(ItemOf(after[pair.New], pair.New, keys)), nil, after[pair.New])
		case pair.New < 0:
			d.add(path.Child(ItemOf(before[pair.Old], pair.Old, keys)), before[pair.Old], nil)
		default:
			d.values(path.Child(ItemOf(after[pair.New], pair.New, keys)), items, before[pair.Old], after[pair.New])
		}
	}
}

// Pair has the indexes of an item in two lists; -1 where it does not exist.
type Pair struct{ Old, New int }

// Match returns which items of two lists are the same: those with the same values of keys,
// or without keys the equal ones at both ends and those at the same place between. The order
// is that of the second list, before the items that only the first has.
func Match(keys []string, before, after []any) []Pair {
	var pairs []Pair
	if keys != nil {
		byID := map[string]int{}
		for i, item := range before {
			values, _ := valuesOf(item, keys)
			byID[strings.Join(values, "\x00")] = i
		}
		for i, item := range after {
			values, _ := valuesOf(item, keys)
			id := strings.Join(values, "\x00")
			old, found := byID[id]
			if !found {
				old = -1
			}
			delete(byID, id)
			pairs = append(pairs, Pair{old, i})
		}
		for _, i := range slices.Sorted(maps.Values(byID)) {
			pairs = append(pairs, Pair{i, -1})
		}
		return pairs
	}
	start := 0
	for start < min(len(before), len(after)) && Equal(before[start], after[start]) {
		pairs = append(pairs, Pair{start, start})
		start++
	}
	end := 0
	for end < min(len(before), len(after))-start && Equal(before[len(before)-1-end], after[len(after)-1-end]) {
		end++
	}
	for i := start; i < max(len(before), len(after))-end; i++ {
		pair := Pair{i, i}
		if i >= len(before)-end {
			pair.Old = -1
		}
		if i >= len(after)-end {
			pair.New = -1
		}
		pairs = append(pairs, pair)
	}
	for i := end; i > 0; i-- {
		pairs = append(pairs, Pair{len(before) - i, len(after) - i})
	}
	return pairs
}

// Equal reports whether two JSON values are equal. Numbers are compared by value.
func Equal(a, b any) bool {
	if one, is := number(a); is {
		other, also := number(b)
		return also && one == other
	}
	switch a := a.(type) {
	case map[string]any:
		b, is := b.(map[string]any)
		if !is || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			if other, found := b[key]; !found || !Equal(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, is := b.([]any)
		return is && slices.EqualFunc(a, b, Equal)
	}
	return reflect.DeepEqual(a, b)
}

func number(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case int:
		return float64(value), true
	case float64:
		return value, true
	}
	return 0, false
}
