package merge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyedItem is an item of a list map that is being merged.
type keyedItem struct {
	// value is the item of the base until an item of the override is merged into it; nil for
	// a new or deleted item.
	value any
	// key identifies the item, and name is its port name. An item without both is matched by
	// no item of the override.
	key  itemKey
	name string
	// merged reports whether an item of the override, first at position, was merged into the
	// item; value then shares nothing with the base.
	merged   bool
	position int
	// deleted items are not in the result.
	deleted bool
}

// itemKey has the values of the keys of a list, of which there are at most two. The zero
// value means that the item has no key.
type itemKey [2]string

// mergeListMap merges the items of one list map over those of another. Items of the base that
// have no key or are not objects are copied as they are: the base is not validated.
//
// The items of the override are matched before any is merged, so that two ports may swap
// their numbers, and merging the same override over the result changes nothing.
func (f *fieldType) mergeListMap(base, override []any) (any, FieldErrors) {
	list := newKeyedItems(f, len(base)+len(override))
	if !slices.ContainsFunc(override, f.replacesList) {
		for _, value := range base {
			item := f.keyed(value)
			if i := list.findKey(item.key); i >= 0 {
				list.items[i].value = value
				list.setName(i, item.name)
				continue
			}
			list.add(item)
		}
	}

	targets, errs := list.match(override)
	items := list.items
	for position, target := range targets {
		if target < 0 {
			continue
		}
		item := &items[target]
		object := override[position].(map[string]any)
		below, _ := item.value.(map[string]any)
		merged, err := f.elem.mergeObject(below, object)
		if len(err) > 0 {
			errs = append(errs, err.Prefix(f.itemSegment(object, position))...)
		}
		if !item.merged {
			item.merged, item.position = true, position
		}
		item.value = merged
	}
	errs = append(errs, f.checkKeys(items)...)

	result := make([]any, 0, len(items))
	for _, item := range items {
		switch {
		case item.deleted:
		case item.merged:
			result = append(result, item.value)
		default:
			result = append(result, f.elem.copy(item.value))
		}
	}
	if len(result) == 0 {
		return nil, errs
	}
	return result, errs
}

// keyed returns an item with its identity.
func (f *fieldType) keyed(value any) keyedItem {
	item := keyedItem{value: value}
	object, ok := value.(map[string]any)
	if !ok {
		return item
	}
	if f.matchPortName {
		item.name, _ = object["name"].(string)
	}
	for i, key := range f.keys {
		part := keyValue(object, key)
		if part == "" {
			item.key = itemKey{}
			break
		}
		item.key[i] = part
	}
	return item
}

// keyValue returns the value of one key of an item, or its default; "" if it has none.
func keyValue(object map[string]any, key listKey) string {
	switch value := object[key.name].(type) {
	case string:
		if value != "" {
			return value
		}
		// An explicit "" is treated as absent.
		return key.defaultValue
	case int64:
		return strconv.FormatInt(value, 10)
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case nil:
		return key.defaultValue
	default:
		return ""
	}
}

// missingKeys returns the error of an item without all of its keys.
func (f *fieldType) missingKeys(object map[string]any) FieldErrors {
	var missing []string
	for _, key := range f.keys {
		if keyValue(object, key) == "" {
			missing = append(missing, key.name)
		}
	}
	return FieldErrors{{Message: "has no merge key " + strings.Join(missing, " and ")}}
}

// replacesList reports whether an item is only the directive that replaces the list of the
// base. In an item with other fields the directive applies to that item.
func (f *fieldType) replacesList(item any) bool {
	object, ok := item.(map[string]any)
	return ok && len(object) == 1 && object[patchDirective] == patchReplace
}

// checkKeys returns the errors of merged items without their keys and of ports with the same
// number: one that was matched by name and has the number of another.
func (f *fieldType) checkKeys(items []keyedItem) (errs FieldErrors) {
	first := map[itemKey]int{}
	for i, item := range items {
		object, ok := item.value.(map[string]any)
		if !ok {
			continue
		}
		if item.merged && f.keyed(object).key == (itemKey{}) {
			errs = append(errs, f.missingKeys(object).Prefix(f.itemSegment(object, item.position))...)
			continue
		}
		if !f.matchPortName || item.key == (itemKey{}) {
			continue
		}
		other, found := first[item.key]
		if !found {
			first[item.key] = i
			continue
		}
		errs = append(errs, FieldError{
			f.itemSegment(object, i),
			fmt.Sprintf("has the same %s %s as %s",
				f.keys[0].name, strings.Join(item.key[:], "/"), f.itemSegment(items[other].value.(map[string]any), other)),
		})
	}
	return errs
}

// mergeSet adds the scalars of one list to those of another.
func (f *fieldType) mergeSet(base, override []any) (any, FieldErrors) {
	result := make([]any, 0, len(base)+len(override))
	present := make(scalarSet, len(base)+len(override))
	for _, value := range base {
		if present.add(value) {
			result = append(result, copyJSON(value))
		}
	}
	var errs FieldErrors
	for position, value := range override {
		if err := f.elem.checkLeaf(value); len(err) > 0 {
			errs = append(errs, err.Prefix(index(position))...)
		}
		if present.add(value) {
			result = append(result, value)
		}
	}
	if len(result) == 0 {
		return nil, errs
	}
	return result, errs
}

// replaceList returns the override's list as the value that replaces the list of the base.
func (f *fieldType) replaceList(override []any) (any, FieldErrors) {
	var errs FieldErrors
	result := make([]any, 0, len(override))
	for position, value := range override {
		if f.elem.shape != shapeUnknown && f.replacesList(value) {
			continue // the list is replaced in any case
		}
		item, err := f.elem.mergeItem(value)
		if len(err) > 0 {
			errs = append(errs, err.Prefix(index(position))...)
		}
		result = append(result, item)
	}
	return result, errs
}

// mergeItem returns an item of a list that is replaced, without nulls and directives.
func (f *fieldType) mergeItem(value any) (any, FieldErrors) {
	switch {
	case f.shape == shapeUnknown:
		return copyJSON(value), nil
	case value == nil:
		return nil, FieldErrors{{Message: "must not be null"}}
	}
	if object, ok := value.(map[string]any); ok && object[patchDirective] == patchDelete {
		return nil, FieldErrors{{patchDirective, "this list has no merge key and is replaced as a whole: list the items to keep"}}
	}
	item, errs := f.merge(nil, value)
	if item == nil && f.shape != shapeScalar {
		item = map[string]any{}
		if f.shape == shapeList {
			item = []any{}
		}
	}
	return item, errs
}
