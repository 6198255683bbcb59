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

// Limits of all patches of one instance together, so that patches cannot occupy a worker.
const (
	// maxPatchText is in bytes: parsing YAML is most of the cost of a long patch.
	maxPatchText = 1 << 20
	// maxPatchOperations counts JSON6902 operations, each of which may move the items of a list.
	maxPatchOperations = 1000
	// maxPatchedValues counts the fields and items of each patch and of each object that it
	// matches, because a merge copies both. A default runtime has about 4,000 in total.
	maxPatchedValues = 500_000
)

// Patch is a change of rendered objects that a user requests, in the form of an entry of
// Kustomize's `patches`.
type Patch struct {
	// Source is the object that contains the patch, for messages: "SeldonConfig seldon-mesh/default".
	Source string
	// Path is the path of the patch in that object: "spec.patches[0]".
	Path string
	// Target selects the objects to change, as in Kustomize: anchored regular expressions for
	// group, version, kind, name and namespace, and selectors for labels and annotations; an
	// empty field matches all. If Target is nil, Text must be a strategic merge patch that has
	// the apiVersion, kind and metadata.name of its object.
	Target *types.Selector
	// Text is the patch, as YAML or JSON: a strategic merge patch, which is applied by
	// [merge.StrategicMerge], or a list of JSON6902 operations. Without a target, it may be
	// several strategic merge patches, each a YAML document.
	Text string
	// DeniedKinds are the kinds that the source may not patch.
	DeniedKinds []schema.GroupKind
}

// Error is the error of a patch that cannot be applied.
type Error struct {
	Source string // Patch.Source
	Path   string // Patch.Path, with the number of the document if there are several
	Object string // "<kind>/<name>" of the patched object; "" if the patch itself is invalid
	Err    error
}

// Error returns "<source>: <path>: <object>: <error>".
func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.Source, e.Path, e.Object} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(append(parts, e.Err.Error()), ": ")
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Apply applies patches to objects, one after the other, and returns the patched objects in
// the same order. It does not change objects; those that no patch matches are shared with the
// result.
//
// A patch must not change apiVersion, kind, status, spec.selector, metadata other than labels
// and annotations, or any label or annotation in the object whose key isReserved reports (nil
// means none). It must not remove labels from a pod template that the selector matches, patch
// a kind that is denied to its source, delete an object, or produce an object that cannot be
// decoded as its kind. Each of these is an error.
//
// The patches together may have 1 MiB of text, 1,000 JSON6902 operations, and 500,000 fields
// and items of patches and objects, counted once for each object that a patch matches.
//
// A patch that matches no object is not an error. It is returned in unmatched, with the
// document that did not match as its text if there are several. All errors are of type
// [*Error], joined in the order of patches and objects; with an error the result is nil.
func Apply(objects []*unstructured.Unstructured, patches []Patch, isReserved func(key string) bool) (
	result []*unstructured.Unstructured, unmatched []Patch, err error,
) {
	if isReserved == nil {
		isReserved = func(string) bool { return false }
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
				changed, err := change.applyTo(object, isReserved)
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

// applyTo returns a changed copy of the object, or an error if the change is not allowed.
func (c *operation) applyTo(object *unstructured.Unstructured, isReserved func(string) bool) (*unstructured.Unstructured, error) {
	kind := object.GroupVersionKind()
	if slices.Contains(c.patch.DeniedKinds, kind.GroupKind()) {
		return nil, fmt.Errorf("the kind %s must not be patched here: narrow the target to other kinds", kind.Kind)
	}
	changed, err := c.change(kind, object.Object)
	if err != nil {
		return nil, err
	}
	if errs := validatePatched(object.Object, changed, isReserved); len(errs) > 0 {
		return nil, errs.Err()
	}
	return &unstructured.Unstructured{Object: changed}, nil
}

// nameOf returns "<kind>/<name>" of an object, for messages.
func nameOf(object *unstructured.Unstructured) string {
	return object.GetKind() + "/" + object.GetName()
}

// countValues returns the number of fields and items of a JSON value.
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
