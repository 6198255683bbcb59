package object

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// setField sets a field, and removeField removes one. The maps on the way there
// are copied first, so that whoever shares them does not see it.
func SetField(object map[string]any, value any, path ...string) {
	for _, name := range path[:len(path)-1] {
		below, _ := object[name].(map[string]any)
		if below = maps.Clone(below); below == nil {
			below = map[string]any{}
		}
		object[name] = below
		object = below
	}
	object[path[len(path)-1]] = value
}

func RemoveField(object map[string]any, path ...string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(object, path...); !found {
		return
	}
	for _, name := range path[:len(path)-1] {
		below := maps.Clone(object[name].(map[string]any))
		object[name] = below
		object = below
	}
	delete(object, path[len(path)-1])
}
