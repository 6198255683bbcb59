package composition

import (
	"errors"
	"fmt"

	"github.com/seldon-operator/seldon-operator/composition/merge"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Input is everything that an instance is rendered from: frames of templates,
// layers over them from the lowest to the highest, and patches over those.
type Input struct {
	// Namespace that all children live in.
	Namespace string
	Templates []TemplateRef
	Layers    []Layer
	Patches   []patch.Patch
}

// Layer is what one source says about the objects of the frames.
type Layer struct {
	// Source names who says it, for messages: `SeldonConfig seldon-mesh/default`.
	Source string
	// Version identifies the content among all of Source: where it is set, layers
	// of one source and version are the same. The lowest layer, which many
	// instances share, is then merged into the templates once.
	Version string
	// Overlays gives the content. It is not called where it is not needed.
	Overlays func() ([]Overlay, error)
}

// Overlay is a partial object that is merged over the one of the same kind and
// name by Kubernetes' strategic merge; see [Merge].
type Overlay struct {
	// Path is where in the source the content stands, for messages.
	Path    string
	Kind    schema.GroupVersionKind
	Name    string
	Content map[string]any
}

// Rendering is what Render gives.
type RenderResult struct {
	// Children in the order of their waves, each key once. They share parts with
	// templates and with other renderings: copy before changing one.
	Objects []object.Object
	// Unmatched are the patches whose target matched nothing.
	UnmatchedPatches []patch.Patch
}

// Render is a pure function from input to children: bind the frames, merge the
// layers, apply the patches. It fails as a whole: an instance that cannot be
// rendered completely is not touched at all. All errors are told, joined.
//
// ownKeys tells the label and annotation keys that patches may not touch.
func Render(templates *Templates, input Input, ownKeys func(string) bool) (RenderResult, error) {
	children, layers, err := bindFrames(templates, input)
	if err != nil {
		return RenderResult{}, err
	}
	if err := mergeLayers(children, layers); err != nil {
		return RenderResult{}, err
	}
	objects := make([]*unstructured.Unstructured, len(children))
	for i := range children {
		objects[i] = children[i].Object
	}
	objects, unmatched, err := patch.Apply(objects, input.Patches, ownKeys)
	if err != nil {
		return RenderResult{}, err
	}
	for i := range children {
		children[i].Object = objects[i]
	}
	object.Sort(children)
	return RenderResult{Objects: children, UnmatchedPatches: unmatched}, nil
}

// bindFrames binds the frames, with the lowest layer in them if that has a
// version, and gives the layers that are still to be merged.
func bindFrames(templates *Templates, input Input) ([]object.Object, []Layer, error) {
	var shared *Layer
	layers := input.Layers
	if len(layers) > 0 && layers[0].Version != "" {
		shared, layers = &layers[0], layers[1:]
	}
	var children []object.Object
	seen := map[object.Ref]string{}
	for _, frame := range input.Templates {
		bound, err := templates.bindWith(frame, input.Namespace, shared)
		if err != nil {
			return nil, nil, err
		}
		for _, child := range bound {
			if other, found := seen[child.Ref()]; found {
				return nil, nil, fmt.Errorf("%s comes from template %s and from template %s; rename one", child.Ref(), other, frame.Template)
			}
			seen[child.Ref()] = frame.Template
		}
		children = append(children, bound...)
	}
	return children, layers, nil
}

// mergeLayers merges layers over children. An overlay needs its object.
func mergeLayers(children []object.Object, layers []Layer) error {
	var errs []error
	places := placesOf(children)
	for _, layer := range layers {
		overlays, err := layer.Overlays()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", layer.Source, err))
		}
		for _, overlay := range overlays {
			met, err := mergeOverlay(children, places, layer.Source, overlay)
			if err == nil && !met {
				err = fmt.Errorf("%s: %s: there is no %s %s to lay it over", layer.Source, overlay.Path, overlay.Kind.Kind, overlay.Name)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// place identifies a child among those of one namespace.
type place struct {
	schema.GroupVersionKind
	name string
}

// placesOf returns the index of each child.
func placesOf(children []object.Object) map[place]int {
	places := make(map[place]int, len(children))
	for i, child := range children {
		places[place{child.Object.GroupVersionKind(), child.Object.GetName()}] = i
	}
	return places
}

// mergeOverlay merges one overlay over the child that it is for, and returns
// whether that is among children.
func mergeOverlay(children []object.Object, places map[place]int, source string, overlay Overlay) (met bool, err error) {
	i, found := places[place{overlay.Kind, overlay.Name}]
	if !found {
		return false, nil
	}
	merged, err := merge.StrategicMerge(overlay.Kind, children[i].Object.Object, overlay.Content)
	if err != nil {
		return true, fmt.Errorf("%s: %s: %w", source, overlay.Path, err)
	}
	children[i].Object = &unstructured.Unstructured{Object: merged}
	return true, nil
}
