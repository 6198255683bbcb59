package merge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Directives: the keys of an override that request another operation than a merge. They are
// those of Kubernetes' strategic merge patch.
const (
	patchDirective        = "$patch"
	retainKeysDirective   = "$retainKeys"
	deleteFromDirective   = "$deleteFromPrimitiveList/"
	setElementOrderPrefix = "$setElementOrder/"

	patchReplace = "replace"
	patchDelete  = "delete"
	patchMerge   = "merge"
)

// maxDepth is the maximum nesting of objects and lists of an override. No built-in kind needs
// half of it. It bounds the recursion of a merge and the length of paths in errors.
const maxDepth = 100

// StrategicMerge merges override over base, two JSON objects of the kind gvk, and returns the
// result, which shares nothing with either. Numbers are int64 or float64, as
// k8s.io/apimachinery/pkg/util/json decodes them.
//
// Kinds of client-go's scheme merge by the rules of Kubernetes' strategic merge patch, from
// the same struct tags: objects and maps merge by key, lists with a merge key merge by item,
// and all other lists are replaced. Values of the override take precedence, including false,
// 0 and ""; null removes a field. The following rules are added, because without them the
// result of two valid layers can be an object that the API server rejects:
//
//   - Items are identified by all keys that server-side apply uses (containerPort and
//     protocol, topologyKey and whenUnsatisfiable). Ports are matched by name first.
//   - Items of the base keep their order; new items are appended in the order of the
//     override. An item that the override has twice, with different content, is an error,
//     because one of the two would be lost. Of environment variables the last one is used, as
//     in a container, and of repeated items of the base always the last one.
//   - Setting one member of a union (the source of a volume, value or valueFrom, the handler
//     of a probe or hook, an update strategy) clears the others.
//   - An empty object, map or list map changes nothing, unless its presence has a meaning,
//     as for emptyDir.
//   - "$patch: delete" removes the object or item that contains it.
//
// Other kinds, whose schema is unknown, merge as JSON merge patches: objects merge by key,
// null removes, lists are replaced. "$patch" works in their objects too.
//
// Kubernetes' own implementation (k8s.io/apimachinery/pkg/util/strategicpatch) uses one key
// per list, so that it merges the ports 53/UDP and 53/TCP into one. It inserts new items first,
// does not remove repeated items, has no paths in its errors and panics on keys that are
// objects. Where none of this matters the two return the same result, which a test checks.
//
// The base is not validated. The override is: a value of the wrong type, a field that the
// kind does not have, an item without its key, two members of a union, and an unknown
// directive are errors that start with their JSON path. They are sorted by path and joined
// by semicolons, fifty at most. An override that is nested deeper than 100 levels is an error.
//
// The cost is O(n log n) in the size of base and override.
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

// merge merges override, which is not null, over base, which is nil if it does not exist. A
// nil result means that the field is removed.
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

// mergeObject merges one JSON object over another. The result is nil if the override deletes
// the object.
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

// applyDirectives returns the base to merge the override over: a copy without the fields that
// the override's directives and union members remove. deleted reports whether the override
// deletes the object instead.
func (t *schemaType) applyDirectives(base, override map[string]any) (result map[string]any, deleted bool, errs FieldErrors) {
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

// copy returns a deep copy of a value of the base. Of repeated items of a list map or set
// only the last one is copied, because server-side apply rejects repeated items.
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

// deeperThan reports whether objects and lists in a JSON value are nested deeper than limit.
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
