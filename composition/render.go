package composition

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// Input is everything that the objects of one instance are rendered from.
type Input struct {
	// Namespace of all objects.
	Namespace string
	Templates []template.Ref
	// Layers are merged over the templates, from the lowest to the highest.
	Layers []template.Layer
	// Patches are applied after the layers, in this order.
	Patches []patch.Patch
}

// RenderResult is the result of rendering.
type RenderResult struct {
	// Objects in the order of their waves, each once.
	Objects []object.Object
	// UnmatchedPatches are the patches whose target matches no object.
	UnmatchedPatches []patch.Patch
}

// Render renders an input: it instantiates the templates, merges the layers and applies
// the patches. It is a pure function, and fails as a whole, with all errors joined: an
// instance that cannot be rendered completely is not changed at all. Patches must not
// change the labels and annotations that options reserve.
//
// The objects of the result belong to the caller.
func Render(templates *template.Set, input Input, options object.Options) (RenderResult, error) {
	result, err := render(templates, input, options)
	for i := range result.Objects {
		result.Objects[i].Object = result.Objects[i].Object.DeepCopy()
	}
	return result, err
}

// render is [Render], but its objects share parts with templates and with other results.
func render(templates *template.Set, input Input, options object.Options) (RenderResult, error) {
	rendered, err := templates.Render(input.Templates, input.Namespace, input.Layers)
	if err != nil {
		return RenderResult{}, err
	}
	objects := make([]*unstructured.Unstructured, len(rendered))
	for i := range rendered {
		objects[i] = rendered[i].Object
	}
	objects, unmatched, err := patch.Apply(objects, input.Patches, options.IsReserved)
	if err != nil {
		return RenderResult{}, err
	}
	for i := range rendered {
		rendered[i].Object = objects[i]
	}
	object.Sort(rendered)
	return RenderResult{Objects: rendered, UnmatchedPatches: unmatched}, nil
}
