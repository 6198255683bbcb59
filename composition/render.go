package composition

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Input is everything that an instance is rendered from: frames of templates,
// layers over them from the lowest to the highest, and patches over those.
type Input struct {
	// Namespace that all children live in.
	Namespace string
	Frames    []Frame
	Layers    []Layer
	Patches   []Patch
}

// Layer is what one source says about the objects of the frames.
type Layer struct {
	// Source names who says it, for messages: `SeldonConfig seldon-mesh/default`.
	Source   string
	Overlays []Overlay
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
type Rendering struct {
	// Children in the order of their waves, each key once.
	Children []Child
	// Unmatched are the patches whose target matched nothing.
	Unmatched []Patch
}

// Render is a pure function from input to children: bind the frames, merge the
// layers, apply the patches. It fails as a whole: an instance that cannot be
// rendered completely is not touched at all. All errors are told, joined.
//
// ownKeys tells the label and annotation keys that patches may not touch.
func Render(templates *Templates, input Input, ownKeys func(string) bool) (Rendering, error) {
	children, err := bindFrames(templates, input)
	if err != nil {
		return Rendering{}, err
	}
	if err := mergeLayers(children, input.Layers); err != nil {
		return Rendering{}, err
	}
	objects := make([]*unstructured.Unstructured, len(children))
	for i := range children {
		objects[i] = children[i].Object
	}
	objects, unmatched, err := ApplyPatches(objects, input.Patches, ownKeys)
	if err != nil {
		return Rendering{}, err
	}
	for i := range children {
		children[i].Object = objects[i]
	}
	sortChildren(children)
	return Rendering{Children: children, Unmatched: unmatched}, nil
}

func bindFrames(templates *Templates, input Input) ([]Child, error) {
	var children []Child
	seen := map[Key]string{}
	for _, frame := range input.Frames {
		bound, err := templates.Bind(frame, input.Namespace)
		if err != nil {
			return nil, err
		}
		for _, child := range bound {
			if other, found := seen[child.Key()]; found {
				return nil, fmt.Errorf("%s comes from template %s and from template %s; rename one", child.Key(), other, frame.Template)
			}
			seen[child.Key()] = frame.Template
		}
		children = append(children, bound...)
	}
	return children, nil
}

func mergeLayers(children []Child, layers []Layer) error {
	var errs []error
	for _, layer := range layers {
		for _, overlay := range layer.Overlays {
			i := slices.IndexFunc(children, func(child Child) bool {
				return child.Object.GroupVersionKind() == overlay.Kind && child.Object.GetName() == overlay.Name
			})
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s: %s: there is no %s %s to lay it over", layer.Source, overlay.Path, overlay.Kind.Kind, overlay.Name))
				continue
			}
			merged, err := Merge(overlay.Kind, children[i].Object.Object, overlay.Content)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", layer.Source, overlay.Path, err))
				continue
			}
			children[i].Object = &unstructured.Unstructured{Object: merged}
		}
	}
	return errors.Join(errs...)
}
