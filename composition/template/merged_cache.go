package template

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// instantiateWith is [Set.Instantiate], and merges the shared layer into the objects. Many
// instances have the same layer, so the merged objects are compiled, with the namespace as
// parameter, and kept. A template that the layer does not change is instantiated as it is.
func (s *Set) instantiateWith(ref Ref, namespace string, shared *Layer) ([]object.Object, error) {
	if shared == nil {
		return s.Instantiate(ref, namespace)
	}
	// A layer leaves most templates alone, whatever their parameters: a Server's layers have
	// nothing for the Services of its replicas.
	unaffected := mergedKey(Ref{Folder: ref.Folder, Components: ref.Components}, shared)
	if _, found := s.merged.Get(unaffected); found {
		return s.Instantiate(ref, namespace)
	}
	key := mergedKey(ref, shared)
	if kept, found := s.merged.Get(key); found {
		if compiled := kept.(*compiledTemplate); compiled != nil {
			return compiled.instantiate([]string{namespace}), nil
		}
		return s.Instantiate(ref, namespace)
	}
	objects, err := s.Instantiate(ref, placeholder(0))
	if err != nil {
		return nil, err
	}
	overlays, err := shared.Overlays()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shared.Source, err)
	}
	changed, index := false, indexOf(objects)
	for _, overlay := range overlays {
		found, err := mergeOverlay(objects, index, shared.Source, overlay)
		if err != nil {
			return nil, err
		}
		changed = changed || found
	}
	if !changed {
		if !sharesKind(objects, overlays) {
			key = unaffected
		}
		s.merged.Add(key, (*compiledTemplate)(nil)) // unchanged: only that is kept
		return s.Instantiate(ref, namespace)
	}
	compiled, err := compileObjects(objects)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shared.Source, err)
	}
	s.merged.Add(key, compiled)
	return compiled.instantiate([]string{namespace}), nil
}

// sharesKind reports whether an overlay is for an object of the kind of one of objects.
func sharesKind(objects []object.Object, overlays []Overlay) bool {
	return slices.ContainsFunc(overlays, func(overlay Overlay) bool {
		return slices.ContainsFunc(objects, func(each object.Object) bool { return each.Object.GroupVersionKind() == overlay.Kind })
	})
}

// mergedKey identifies a reference, without its namespace, and a layer. The lengths
// distinguish values that contain separators.
func mergedKey(ref Ref, shared *Layer) [sha256.Size]byte {
	hash := sha256.New()
	part := func(text string) { _, _ = fmt.Fprintf(hash, "%d:%s,", len(text), text) } // never fails
	part(shared.Source)
	part(shared.Version)
	part(ref.Folder)
	for _, component := range slices.Sorted(slices.Values(ref.Components)) {
		part(component)
	}
	for _, name := range slices.Sorted(maps.Keys(ref.Parameters)) {
		part(name)
		part(ref.Parameters[name])
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// compileObjects compiles objects whose only parameter is the namespace.
func compileObjects(objects []object.Object) (*compiledTemplate, error) {
	compiled := &compiledTemplate{parameters: []string{namespaceParameter}}
	for _, each := range objects {
		content, err := compileNode(each.Object.Object, 1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.Ref(), err)
		}
		compiled.objects = append(compiled.objects, compiledObject{content: content, restartOnChange: each.RestartOnChange, initialOnlyField: each.InitialOnlyField})
	}
	return compiled, nil
}
