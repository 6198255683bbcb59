package merge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// isDirective reports whether a key of an override is a directive rather than a field.
func isDirective(key string) bool {
	return key == patchDirective || key == retainKeysDirective ||
		strings.HasPrefix(key, deleteFromDirective) || strings.HasPrefix(key, setElementOrderPrefix)
}

// directiveOf returns the value of the $patch directive of an object; the default is merge.
func directiveOf(object map[string]any) (string, FieldErrors) {
	value, present := object[patchDirective]
	if !present {
		return patchMerge, nil
	}
	switch value {
	case patchMerge, patchReplace, patchDelete:
		return value.(string), nil
	default:
		return patchMerge, FieldErrors{{patchDirective, fmt.Sprintf("unknown directive %s, must be %s, %s or %s",
			Truncate(value), patchMerge, patchReplace, patchDelete)}}
	}
}

// notInRetainKeys returns the fields of base that are not in the list of $retainKeys.
func notInRetainKeys(base, override map[string]any, list any) (drop []string, errs FieldErrors) {
	names, ok := list.([]any)
	if !ok {
		return nil, TypeErrors("a list of field names", list).Prefix(retainKeysDirective)
	}
	retained := make(map[string]bool, len(names))
	for _, name := range names {
		name, ok := name.(string)
		if !ok {
			return nil, FieldErrors{{retainKeysDirective, "must be a list of field names"}}
		}
		retained[name] = true
	}
	for key, value := range override {
		if value != nil && !retained[key] && !isDirective(key) {
			errs = append(errs, FieldError{retainKeysDirective, fmt.Sprintf("must list %s, which is set beside it", key)})
		}
	}
	for key := range base {
		if !retained[key] {
			drop = append(drop, key)
		}
	}
	return drop, errs
}

// deleteFromPrimitiveList returns a list of scalars without the values that a
// $deleteFromPrimitiveList directive lists.
func deleteFromPrimitiveList(base, list any) (any, FieldErrors) {
	values, ok := list.([]any)
	if !ok {
		return base, TypeErrors("a list of the values to delete", list)
	}
	deleted := make(scalarSet, len(values))
	for i, value := range values {
		if !isScalar(value) {
			return base, TypeErrors("a string, number or bool", value).Prefix(index(i))
		}
		deleted.add(value)
	}
	items, ok := base.([]any)
	if !ok {
		return base, nil
	}
	rest := make([]any, 0, len(items))
	for _, item := range items {
		if !deleted.contains(item) {
			rest = append(rest, item)
		}
	}
	return rest, nil
}

// reorder applies the $setElementOrder lists of an override: the items in such a list are
// sorted as in the list, within the positions that they have among the other items.
func (t *schemaType) reorder(merged, override map[string]any) (errs FieldErrors) {
	for directive, value := range override {
		name, found := strings.CutPrefix(directive, setElementOrderPrefix)
		if !found {
			continue
		}
		order, ok := value.([]any)
		if !ok {
			errs = append(errs, TypeErrors("a list", value).Prefix(directive)...)
			continue
		}
		items, ok := merged[name].([]any)
		field := t.field(name)
		if !ok || field == nil {
			continue
		}
		errs = append(errs, field.reorderList(items, order).Prefix(directive)...)
	}
	return errs
}

// reorderList sorts items, in place, as order lists them.
func (f *fieldType) reorderList(items, order []any) (errs FieldErrors) {
	rank := make(map[int]int, len(order)) // index of the item → position in order
	find := f.finder(items)
	for position, named := range order {
		i, err := find(named)
		if err != nil {
			errs = append(errs, err.Prefix(index(position))...)
			continue
		}
		if _, ranked := rank[i]; i >= 0 && !ranked {
			rank[i] = position
		}
	}
	places := slices.Sorted(maps.Keys(rank))
	desired := slices.SortedFunc(maps.Keys(rank), func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	previous := slices.Clone(items)
	for i, place := range places {
		items[place] = previous[desired[i]]
	}
	return errs
}

// finder returns a function that returns the index of the item of a merged list that an
// entry of $setElementOrder identifies, -1 if there is none.
func (f *fieldType) finder(items []any) func(named any) (int, FieldErrors) {
	if f.keys == nil {
		first := make(map[any]int, len(items))
		for i, item := range slices.Backward(items) {
			if isScalar(item) {
				first[item] = i
			}
		}
		return func(named any) (int, FieldErrors) {
			if isScalar(named) {
				if i, found := first[named]; found {
					return i, nil
				}
			}
			return -1, nil
		}
	}
	list := newKeyedItems(f, len(items))
	for _, value := range items {
		list.add(f.keyed(value))
	}
	return func(named any) (int, FieldErrors) {
		object, ok := named.(map[string]any)
		if !ok {
			return -1, TypeErrors("an object", named)
		}
		return list.find(object)
	}
}
