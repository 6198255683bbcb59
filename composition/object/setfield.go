package object

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SetField sets the field at path and creates the maps on the path. It copies existing maps
// on the path first, so that other objects may share them.
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

// RemoveField removes the field at path, if it exists. It copies the maps on the path first,
// so that other objects may share them.
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
