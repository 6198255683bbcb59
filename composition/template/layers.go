package template

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/merge"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Layer is the content that one source, such as a custom resource, has for the objects of
// templates.
type Layer struct {
	// Source names the source for messages: `SeldonConfig seldon-mesh/default`.
	Source string
	// Version identifies the content among all of Source: layers with the same source and
	// version, if it is set, are equal. The lowest layer, which many instances share, is
	// then merged into a template once.
	Version string
	// Overlays returns the content. It is not called where the content is not needed.
	Overlays func() ([]Overlay, error)
}

// Overlay is a partial object that is merged over the object of the same kind and name by
// Kubernetes' strategic merge; see [merge.StrategicMerge].
type Overlay struct {
	// Path is where in the source the content is, for messages.
	Path    string
	Kind    schema.GroupVersionKind
	Name    string
	Content map[string]any
}

// Render instantiates templates in a namespace and merges layers over them, from the
// lowest to the highest. Each object of the result is there once; objects share parts with
// templates and with other results, and must be copied before they are changed.
//
// Errors, joined: those of [Set.Instantiate], an object that two templates have, an
// overlay for no object, and those of the merge, with source and path.
func (s *Set) Render(refs []Ref, namespace string, layers []Layer) ([]object.Object, error) {
	var shared *Layer
	if len(layers) > 0 && layers[0].Version != "" {
		shared, layers = &layers[0], layers[1:]
	}
	var objects []object.Object
	templateOf := map[object.Ref]string{}
	for _, ref := range refs {
		instantiated, err := s.instantiateWith(ref, namespace, shared)
		if err != nil {
			return nil, err
		}
		for _, each := range instantiated {
			if other, found := templateOf[each.Ref()]; found {
				return nil, fmt.Errorf("%s comes from template %s and from template %s; rename one", each.Ref(), other, ref.Folder)
			}
			templateOf[each.Ref()] = ref.Folder
		}
		objects = append(objects, instantiated...)
	}
	return objects, mergeLayers(objects, layers)
}

// mergeLayers merges layers over objects.
func mergeLayers(objects []object.Object, layers []Layer) error {
	var errs []error
	index := indexOf(objects)
	for _, layer := range layers {
		overlays, err := layer.Overlays()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", layer.Source, err))
		}
		for _, overlay := range overlays {
			found, err := mergeOverlay(objects, index, layer.Source, overlay)
			if err == nil && !found {
				err = fmt.Errorf("%s: %s: no template has a %s %s", layer.Source, overlay.Path, overlay.Kind.Kind, overlay.Name)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kindAndName identifies an object among those of one namespace.
type kindAndName struct {
	schema.GroupVersionKind
	name string
}

// indexOf returns the index of each object.
func indexOf(objects []object.Object) map[kindAndName]int {
	index := make(map[kindAndName]int, len(objects))
	for i, each := range objects {
		index[kindAndName{each.Object.GroupVersionKind(), each.Object.GetName()}] = i
	}
	return index
}

// mergeOverlay merges an overlay over its object, and returns whether that was found.
func mergeOverlay(objects []object.Object, index map[kindAndName]int, source string, overlay Overlay) (found bool, err error) {
	i, found := index[kindAndName{overlay.Kind, overlay.Name}]
	if !found {
		return false, nil
	}
	merged, err := merge.StrategicMerge(overlay.Kind, objects[i].Object.Object, overlay.Content)
	if err != nil {
		return true, fmt.Errorf("%s: %s: %w", source, overlay.Path, err)
	}
	objects[i].Object = &unstructured.Unstructured{Object: merged}
	return true, nil
}
