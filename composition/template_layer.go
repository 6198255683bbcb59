package composition

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// bindWith is Bind, and merges the shared layer into the objects. As many
// instances share it, the result is compiled and kept with the namespace open:
// for a frame that the layer changes, another instance is another binding.
func (t *Templates) instantiateWith(frame TemplateRef, namespace string, shared *Layer) ([]object.Object, error) {
	if shared == nil {
		return t.Instantiate(frame, namespace)
	}
	// A layer leaves most frames alone, whatever their values: a Server's layers have
	// nothing for the Services of its replicas.
	unaffected := layeredKey(TemplateRef{Template: frame.Template, Components: frame.Components}, shared)
	if _, found := t.layered.Get(unaffected); found {
		return t.Instantiate(frame, namespace)
	}
	key := layeredKey(frame, shared)
	if kept, found := t.layered.Get(key); found {
		if v := kept.(*variant); v != nil {
			return v.bind([]string{namespace}), nil
		}
		return t.Instantiate(frame, namespace)
	}
	children, err := t.Instantiate(frame, placeholder(0))
	if err != nil {
		return nil, err
	}
	overlays, err := shared.Overlays()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shared.Source, err)
	}
	changed, index := false, indexOf(children)
	for _, overlay := range overlays {
		met, err := mergeOverlay(children, index, shared.Source, overlay)
		if err != nil {
			return nil, err
		}
		changed = changed || met
	}
	if !changed {
		if !sharesKind(children, overlays) {
			key = unaffected
		}
		t.layered.Add(key, (*variant)(nil)) // nothing to keep but that
		return t.Instantiate(frame, namespace)
	}
	v, err := compileChildren(children)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shared.Source, err)
	}
	t.layered.Add(key, v)
	return v.bind([]string{namespace}), nil
}

// sharesKind reports whether an overlay is for an object of the kind of a child.
func sharesKind(children []object.Object, overlays []Overlay) bool {
	return slices.ContainsFunc(overlays, func(overlay Overlay) bool {
		return slices.ContainsFunc(children, func(child object.Object) bool { return child.Object.GroupVersionKind() == overlay.Kind })
	})
}

// layeredKey identifies a frame less its namespace, and a layer. The lengths
// keep values that hold separators apart.
func layeredKey(frame TemplateRef, shared *Layer) [sha256.Size]byte {
	hash := sha256.New()
	part := func(text string) { _, _ = fmt.Fprintf(hash, "%d:%s,", len(text), text) } // a hash takes anything
	part(shared.Source)
	part(shared.Version)
	part(frame.Template)
	for _, component := range slices.Sorted(slices.Values(frame.Components)) {
		part(component)
	}
	for _, name := range slices.Sorted(maps.Keys(frame.Parameters)) {
		part(name)
		part(frame.Parameters[name])
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// compileChildren compiles objects whose only parameter is the namespace.
func compileChildren(children []object.Object) (*variant, error) {
	v := &variant{parameters: []string{namespaceParameter}}
	for _, child := range children {
		content, err := compileNode(child.Object.Object, 1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", child.Ref(), err)
		}
		v.objects = append(v.objects, compiledObject{content: content, rollReaders: child.RestartOnChange, seed: child.InitialOnlyField})
	}
	return v, nil
}
