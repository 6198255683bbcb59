package fields

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// Leaf is a scalar, or an empty map or list.
type Leaf struct {
	Path string
	// Steps are as in [Find].
	Steps []any
	Value any
}

// Leaves returns the leaves of an object of a kind, in the order of keys and items.
func Leaves(kind schema.GroupVersionKind, object map[string]any) []Leaf {
	var leaves []Leaf
	var walk func(path Path, steps []any, schema merge.Schema, value any)
	walk = func(path Path, steps []any, schema merge.Schema, value any) {
		switch parts := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(parts)) {
				walk(path.Child(Field(key)), append(slices.Clip(steps), key), schema.Field(key), parts[key])
			}
			if len(parts) > 0 {
				return
			}
		case []any:
			keys := Keys(schema, parts)
			for i, item := range parts {
				walk(path.Child(ItemOf(item, i, keys)), append(slices.Clip(steps), i), schema.Items(), item)
			}
			if len(parts) > 0 {
				return
			}
		}
		leaves = append(leaves, Leaf{path.String(), steps, value})
	}
	walk(nil, nil, merge.SchemaOf(kind), object)
	return leaves
}
