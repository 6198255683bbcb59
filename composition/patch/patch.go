package patch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/types"
)

// Bounds of all the patches of one instance, so that no author of patches occupies a worker.
const (
	// maxPatchText is in bytes: reading YAML is the larger part of what a long patch costs.
	maxPatchText = 1 << 20
	// maxPatchOperations are JSON6902 operations, each of which may move the rest of a list.
	maxPatchOperations = 1000
	// maxPatchedValues are fields and items, those of each patch and of each object that it
	// meets: a merge copies both. A default runtime has some 4,000 altogether.
	maxPatchedValues = 500_000
)

// Patch is a change that a user asks for on rendered objects, in the form of an
// entry of Kustomize's `patches`.
type Patch struct {
	// Source says who wrote it, for messages: "SeldonConfig seldon-mesh/default".
	Source string
	// Path is where in that object it stands: "spec.patches[0]".
	Path string
	// Target selects the objects to change, as in Kustomize: anchored regular
	// expressions for group, version, kind, name and namespace, and selectors for
	// labels and annotations; what is empty matches all. Without a target, the text must be
	// a strategic merge patch that names its object by apiVersion, kind and metadata.name.
	Target *types.Selector
	// Text is the patch, as YAML or JSON: a strategic merge patch, which Merge
	// lays over the object, or a list of JSON6902 operations. Without a target, several
	// YAML documents are several strategic merge patches.
	Text string
	// Forbidden are the kinds that this source may not patch.
	DeniedKinds []schema.GroupKind
}

// PatchError tells why a patch cannot be applied.
type Error struct {
	Source string // Patch.Source
	Path   string // Patch.Path, with the number of the document where there are several
	Object string // "<kind>/<name>" of the object, "" if the patch is wrong by itself
	Err    error
}

// Error returns "<source>: <path>: <object>: <what is wrong>".
func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.Source, e.Path, e.Object} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(append(parts, e.Err.Error()), ": ")
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// ApplyPatches applies patches to objects, one after the other, and returns the
// patched objects in the order of the given ones. It changes none of those; objects
// that no patch meets are shared with the result.
//
// Patches are no back door. What they may not do is an error: change apiVersion,
// kind, status or spec.selector, anything of the metadata but labels and
// annotations, or a label or annotation, wherever it stands, whose key satisfies
// ownKeys (nil: none is our own); take from a pod template the labels that its
// selector needs; touch a kind that is forbidden to their source; delete an object; or
// make of it something that its kind cannot be read from.
//
// The patches together are bounded: 1 MiB of text, 1,000 JSON6902 operations, and 500,000 fields
// and items of patches and objects, counted once for each object that a patch meets.
//
// A patch that meets no object is no error but is returned in unmatched, with only the
// document in question as its text where there are several. All errors are PatchErrors,
// told together in the order of patches and objects; with an error there is no result.
func Apply(objects []*unstructured.Unstructured, patches []Patch, ownKeys func(key string) bool) (
	result []*unstructured.Unstructured, unmatched []Patch, err error,
) {
	if ownKeys == nil {
		ownKeys = func(string) bool { return false }
	}
	result = slices.Clone(objects)
	var errs []error
	text, operations, values := 0, 0, 0
	for _, patch := range patches {
		if text += len(patch.Text); text > maxPatchText {
			return nil, nil, &Error{Source: patch.Source, Path: patch.Path, Err: fmt.Errorf(
				"the patches up to this one are longer than %d bytes together: shorten or remove some", maxPatchText)}
		}
		changes, err := parse(patch)
		for _, change := range changes {
			operations += change.operations
		}
		if operations > maxPatchOperations {
			return nil, nil, &Error{Source: patch.Source, Path: patch.Path, Err: fmt.Errorf(
				"the patches up to this one have more than %d JSON6902 operations together: use strategic merge patches", maxPatchOperations)}
		}
		if err != nil {
			errs = append(errs, &Error{Source: patch.Source, Path: patch.Path, Err: err})
			continue
		}
		for _, change := range changes {
			matched := false
			for i, object := range result {
				if !change.matches(object) {
					continue
				}
				matched = true
				if values += change.values + countValues(object.Object); values > maxPatchedValues {
					return nil, nil, &Error{Source: patch.Source, Path: change.patch.Path, Object: nameOf(object), Err: fmt.Errorf(
						"the patches up to this one process more than %d fields: narrow their targets or join them", maxPatchedValues)}
				}
				changed, err := change.applyTo(object, ownKeys)
				if err != nil {
					errs = append(errs, &Error{Source: patch.Source, Path: change.patch.Path, Object: nameOf(object), Err: err})
					continue
				}
				result[i] = changed
			}
			if !matched {
				unmatched = append(unmatched, change.patch)
			}
		}
	}
	if len(errs) > 0 {
		return nil, unmatched, errors.Join(errs...)
	}
	return result, unmatched, nil
}

// applyTo returns the changed object.
func (c *operation) applyTo(object *unstructured.Unstructured, ownKeys func(string) bool) (*unstructured.Unstructured, error) {
	kind := object.GroupVersionKind()
	if slices.Contains(c.patch.DeniedKinds, kind.GroupKind()) {
		return nil, fmt.Errorf("objects of kind %s cannot be patched from here: narrow the target to other kinds", kind.Kind)
	}
	changed, err := c.change(kind, object.Object)
	if err != nil {
		return nil, err
	}
	if errs := validatePatched(object.Object, changed, ownKeys); len(errs) > 0 {
		return nil, errs.Err()
	}
	return &unstructured.Unstructured{Object: changed}, nil
}

// patchedName names an object in a message.
func nameOf(object *unstructured.Unstructured) string {
	return object.GetKind() + "/" + object.GetName()
}

// countValues returns how many fields and items a JSON value has.
func countValues(value any) int {
	count := 0
	switch value := value.(type) {
	case map[string]any:
		count = len(value)
		for _, member := range value {
			count += countValues(member)
		}
	case []any:
		count = len(value)
		for _, item := range value {
			count += countValues(item)
		}
	}
	return count
}
