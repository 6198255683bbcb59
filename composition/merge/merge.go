package merge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The keys by which an override asks for something other than "lay this over
// what is there". They are those of Kubernetes' strategic merge patch.
const (
	patchDirective        = "$patch"
	retainKeysDirective   = "$retainKeys"
	deleteFromDirective   = "$deleteFromPrimitiveList/"
	setElementOrderPrefix = "$setElementOrder/"

	patchReplace = "replace"
	patchDelete  = "delete"
	patchMerge   = "merge"
)

// maxDepth bounds how deep the objects and lists of an override are nested. No kind of
// Kubernetes needs half of it, and the recursion of a merge and the paths of its errors grow
// with it.
const maxDepth = 100

// Merge lays override over base, two JSON objects of the kind gvk, and returns
// a third that shares nothing with either. Numbers are int64 or float64, as
// k8s.io/apimachinery/pkg/util/json decodes them.
//
// Kinds of client-go's scheme merge by the rules of Kubernetes' strategic merge
// patch, taken from the same struct tags: objects and maps merge by key, lists
// that have a merge key merge by item, and all other lists are replaced. What
// the override says wins, explicit false, 0 and "" included; null removes. To
// that come the rules without which the result of two people's intent is an
// object that the API server refuses:
//
//   - An item's identity is that of server-side apply, all keys of it
//     (containerPort and protocol, topologyKey and whenUnsatisfiable). Ports
//     are known by their name first.
//   - Items of the base keep their place; new ones follow in the order of the
//     override. An item that the override lists twice, with different content, is an
//     error: one would be lost. Of environment variables the last one counts, as it
//     does in a container, and in the base the last one of everything.
//   - Choosing one member of a union (the source of a volume, value or
//     valueFrom, the handler of a probe or hook, an update strategy) clears the
//     others.
//   - An empty object, map or keyed list says nothing: it wipes nothing and adds
//     nothing, unless its presence means something, as that of emptyDir does.
//   - "$patch: delete" removes what carries it.
//
// Other kinds, whose schema is not known, merge as JSON merge patches do: objects by
// key, null removes, lists are replaced; "$patch" works in their objects too.
//
// Kubernetes' own implementation (k8s.io/apimachinery/pkg/util/strategicpatch) knows one
// key per list, so that it makes one port of 53/UDP and 53/TCP; it puts new items first, keeps items
// that are given twice, has no paths in its errors and panics on keys that are objects.
// Where none of this matters the two agree, and a test holds them to it.
//
// The base is taken as it is. The override is checked: a value of the wrong type, a field
// that the kind does not have, an item without its key, two members of a union, or
// a directive that does not exist is an error that starts with its JSON path. They
// are listed in the order of their paths, with semicolons between them, fifty at most.
//
// A merge costs O(n log n) in the size of base and override. An override that is nested
// deeper than 100 levels is an error.
func StrategicMerge(gvk schema.GroupVersionKind, base, override map[string]any) (map[string]any, error) {
	t := typeOf(gvk)
	for _, key := range slices.Sorted(maps.Keys(override)) {
		if deeperThan(override[key], maxDepth-1) {
			return nil, FieldErrors{{t.segment(key), fmt.Sprintf("is nested deeper than %d levels", maxDepth)}}.Err()
		}
	}
	merged, errs := t.mergeObject(base, override)
	if len(errs) > 0 {
		return nil, errs.Err()
	}
	if merged == nil {
		return nil, fmt.Errorf("%s: %s at the root deletes the whole object", patchDirective, patchDelete)
	}
	return merged, nil
}

// merge lays override, which is not null, over base, which is nil where there
// is none. A nil result means that nothing is left of the field.
func (f *fieldType) merge(base, override any) (any, FieldErrors) {
	if f.replace {
		base = nil
	}
	t := f.schemaType
	switch t.shape {
	case shapeObject, shapeMap:
		above, ok := override.(map[string]any)
		if !ok {
			return nil, TypeErrors("an object", override)
		}
		below, _ := base.(map[string]any)
		merged, errs := t.mergeObject(below, above)
		if len(merged) == 0 && !(merged != nil && f.optional) {
			return nil, errs
		}
		return merged, errs
	case shapeList:
		above, ok := override.([]any)
		if !ok {
			return nil, TypeErrors("a list", override)
		}
		below, _ := base.([]any)
		switch {
		case f.keys != nil:
			return f.mergeListMap(below, above)
		case f.set:
			return f.mergeSet(below, above)
		default:
			return f.replaceList(above)
		}
	case shapeUnknown:
		above, ok := override.(map[string]any)
		if !ok {
			return copyJSON(override), nil
		}
		below, _ := base.(map[string]any)
		merged, errs := t.mergeObject(below, above)
		if merged == nil {
			return nil, errs
		}
		return merged, errs
	default:
		return override, t.checkLeaf(override)
	}
}

// mergeObject lays one JSON object over another. The result is nil if the
// override asks for the object's deletion.
func (t *schemaType) mergeObject(base, override map[string]any) (map[string]any, FieldErrors) {
	base, deleted, errs := t.applyDirectives(base, override)
	if deleted {
		return nil, errs
	}

	merged := make(map[string]any, len(base)+len(override))
	for key, value := range base {
		if _, overridden := override[key]; !overridden {
			merged[key] = t.field(key).copy(value)
		}
	}
	for key, value := range override {
		if isDirective(key) {
			continue
		}
		field := t.field(key)
		if field == nil {
			errs = append(errs, FieldError{t.segment(key), "unknown field"})
			continue
		}
		if value == nil {
			continue
		}
		result, fieldErrs := field.merge(base[key], value)
		if len(fieldErrs) > 0 {
			errs = append(errs, fieldErrs.Prefix(t.segment(key))...)
		}
		if result != nil {
			merged[key] = result
		}
	}
	errs = append(errs, t.reorder(merged, override)...)
	t.setDiscriminator(merged, override)
	return merged, errs
}

// prepare gives the base that the override is to be laid over, which is a copy
// where the override's directives and choices take something away from it, and
// tells whether the object is to be deleted instead.
func (t *schemaType) applyDirectives(base, override map[string]any) (prepared map[string]any, deleted bool, errs FieldErrors) {
	directive, errs := directiveOf(override)
	switch directive {
	case patchDelete:
		return nil, true, errs
	case patchReplace:
		base = nil
	}

	dropped, errs2 := t.unionMembersToClear(base, override)
	errs = append(errs, errs2...)
	var lists map[string]any
	for key, value := range override {
		switch {
		case key == retainKeysDirective:
			drop, err := notInRetainKeys(base, override, value)
			dropped, errs = append(dropped, drop...), append(errs, err...)
		case strings.HasPrefix(key, deleteFromDirective):
			name := strings.TrimPrefix(key, deleteFromDirective)
			rest, err := deleteFromPrimitiveList(base[name], value)
			if lists == nil {
				lists = map[string]any{}
			}
			lists[name], errs = rest, append(errs, err.Prefix(key)...)
		}
	}
	if len(dropped) == 0 && len(lists) == 0 {
		return base, false, errs
	}
	base = maps.Clone(base)
	for name, list := range lists {
		if _, present := base[name]; present {
			base[name] = list
		}
	}
	for _, key := range dropped {
		delete(base, key)
	}
	return base, false, errs
}

// copy returns a value of the base as it goes into the result. Items that a
// keyed list holds more than once become one there too, the last of them,
// because server-side apply refuses such lists.
func (f *fieldType) copy(value any) any {
	if f == nil {
		return copyJSON(value)
	}
	switch value := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(value))
		for key, member := range value {
			copied[key] = f.field(key).copy(member)
		}
		return copied
	case []any:
		var distinct any
		switch {
		case f.keys != nil:
			distinct, _ = f.mergeListMap(value, nil)
		case f.set:
			distinct, _ = f.mergeSet(value, nil)
		}
		if distinct != nil {
			return distinct
		}
		copied := make([]any, len(value))
		for i, item := range value {
			copied[i] = f.elem.copy(item)
		}
		return copied
	default:
		return value
	}
}

// deeperThan returns whether objects and lists are nested in a JSON value deeper than limit.
func deeperThan(value any, limit int) bool {
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			if limit == 0 || deeperThan(member, limit-1) {
				return true
			}
		}
	case []any:
		for _, item := range value {
			if limit == 0 || deeperThan(item, limit-1) {
				return true
			}
		}
	}
	return false
}

// copyJSON returns a deep copy of a JSON value.
func copyJSON(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(value))
		for key, member := range value {
			copied[key] = copyJSON(member)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, item := range value {
			copied[i] = copyJSON(item)
		}
		return copied
	default:
		return value
	}
}
