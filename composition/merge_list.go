package composition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyedItem is an item of a keyed list while the list is being merged.
type keyedItem struct {
	value any
	// key is the item's identity and name its port name; without either, nothing of the
	// override can mean it.
	key  itemKey
	name string
	// merged items are ours: the others still belong to the base.
	merged bool
}

// itemKey holds the values of a list's keys, of which no list has more than two.
// The zero value is no identity.
type itemKey [2]string

// mergeKeyed lays the items of one keyed list over those of another. Items of the
// base that have no key, or are no objects, stay as they are: the base is not ours to judge.
func (f *mergeField) mergeKeyed(base, override []any) (any, fieldErrors) {
	var errs fieldErrors
	items := make([]keyedItem, 0, len(base)+len(override))
	if !slices.ContainsFunc(override, f.replacesList) {
		for _, value := range base {
			item := f.keyed(value, false)
			if i := f.findKey(items, item.key); i >= 0 {
				items[i] = item
				continue
			}
			items = append(items, item)
		}
	}

	for position, value := range override {
		object, ok := value.(map[string]any)
		if !ok {
			errs = append(errs, wrongType("an object", value).under(index(position))...)
			continue
		}
		if f.replacesList(object) {
			continue
		}
		directive, err := directiveOf(object)
		i, findErr := f.find(items, object)
		err = append(err, findErr...)
		if len(err) > 0 {
			errs = append(errs, err.under(f.itemSegment(object, position))...)
			continue
		}
		if directive == patchDelete {
			if i >= 0 {
				items = slices.Delete(items, i, i+1)
			}
			continue
		}

		var below map[string]any
		if i >= 0 {
			below, _ = items[i].value.(map[string]any)
		}
		merged, err := f.elem.mergeObject(below, object)
		item := f.keyed(merged, true)
		if item.key == (itemKey{}) && len(err) == 0 {
			err = fieldErrors{{message: "lacks " + f.missingKey(merged)}}
		}
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		if i >= 0 {
			items[i] = item
		} else {
			items = append(items, item)
		}
	}
	errs = append(errs, f.collisions(items)...)

	if len(items) == 0 {
		return nil, errs
	}
	result := make([]any, len(items))
	for i, item := range items {
		result[i] = item.value
		if !item.merged {
			result[i] = f.elem.copy(item.value)
		}
	}
	return result, errs
}

// keyed reads the identity of an item.
func (f *mergeField) keyed(value any, merged bool) keyedItem {
	item := keyedItem{value: value, merged: merged}
	object, ok := value.(map[string]any)
	if !ok {
		return item
	}
	if f.byName {
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

// keyValue returns the value of one key of an item, "" if it has none.
func keyValue(object map[string]any, key listKey) string {
	switch value := object[key.name].(type) {
	case string:
		if value != "" {
			return value
		}
		// An explicit "" is as good as none.
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

// missingKey names the keys that an item lacks.
func (f *mergeField) missingKey(object map[string]any) string {
	var missing []string
	for _, key := range f.keys {
		if keyValue(object, key) == "" {
			missing = append(missing, key.name)
		}
	}
	return "its merge key " + strings.Join(missing, " and ")
}

// find returns the index of the item that object means, -1 if there is none yet.
// It is an error if that cannot be said.
func (f *mergeField) find(items []keyedItem, object map[string]any) (int, fieldErrors) {
	wanted := f.keyed(object, false)
	if wanted.name != "" {
		if i := slices.IndexFunc(items, func(item keyedItem) bool { return item.name == wanted.name }); i >= 0 {
			return i, nil
		}
	}
	if wanted.key != (itemKey{}) {
		return f.findKey(items, wanted.key), nil
	}
	// A part of the key is enough if it means one item only.
	found := -1
	for i, item := range items {
		if !f.agrees(item.key, object) {
			continue
		}
		if found >= 0 {
			return -1, fieldErrors{{message: "lacks " + f.missingKey(object) + ", and more than one item would match"}}
		}
		found = i
	}
	if found < 0 {
		return -1, fieldErrors{{message: "lacks " + f.missingKey(object)}}
	}
	return found, nil
}

// agrees tells whether an item has those keys that object gives, the first of
// them among these.
func (f *mergeField) agrees(key itemKey, object map[string]any) bool {
	if key == (itemKey{}) || keyValue(object, f.keys[0]) == "" {
		return false
	}
	for i, k := range f.keys {
		if part := keyValue(object, k); part != "" && part != key[i] {
			return false
		}
	}
	return true
}

// findKey returns the index of the item with a key, -1 if there is none.
func (f *mergeField) findKey(items []keyedItem, key itemKey) int {
	if key == (itemKey{}) {
		return -1
	}
	return slices.IndexFunc(items, func(item keyedItem) bool { return item.key == key })
}

// findNamed returns the index of the item of a finished list that an entry of
// $setElementOrder means.
func (f *mergeField) findNamed(list []any, named any) (int, fieldErrors) {
	if f.keys == nil {
		return slices.IndexFunc(list, func(item any) bool { return equalScalars(item, named) }), nil
	}
	object, ok := named.(map[string]any)
	if !ok {
		return -1, wrongType("an object", named)
	}
	items := make([]keyedItem, len(list))
	for i, value := range list {
		items[i] = f.keyed(value, false)
	}
	return f.find(items, object)
}

// replacesList tells whether an item is no item but the order to forget the base's
// list. With a key beside it, the directive concerns that item alone.
func (f *mergeField) replacesList(item any) bool {
	object, ok := item.(map[string]any)
	return ok && len(object) == 1 && object[patchDirective] == patchReplace
}

// collisions finds items that have come to the same key: a port that was moved by
// its name onto the number of another.
func (f *mergeField) collisions(items []keyedItem) (errs fieldErrors) {
	if !f.byName {
		return nil
	}
	for i, item := range items {
		if first := f.findKey(items, item.key); first >= 0 && first < i {
			errs = append(errs, fieldError{
				f.itemSegment(item.value.(map[string]any), i),
				fmt.Sprintf("has the %s %s, which is that of %s too",
					f.keys[0].name, strings.Join(item.key[:], "/"), f.itemSegment(items[first].value.(map[string]any), first)),
			})
		}
	}
	return errs
}

// mergeSet adds the scalars of one list to those of another.
func (f *mergeField) mergeSet(base, override []any) (any, fieldErrors) {
	result := make([]any, 0, len(base)+len(override))
	for _, value := range base {
		if !containsScalar(result, value) {
			result = append(result, copyJSON(value))
		}
	}
	var errs fieldErrors
	for position, value := range override {
		errs = append(errs, f.elem.checkLeaf(value).under(index(position))...)
		if !containsScalar(result, value) {
			result = append(result, value)
		}
	}
	if len(result) == 0 {
		return nil, errs
	}
	return result, errs
}

// replaceList returns the override's list as it goes into the result, where it
// takes the place of the base's.
func (f *mergeField) replaceList(override []any) (any, fieldErrors) {
	var errs fieldErrors
	result := make([]any, 0, len(override))
	for position, value := range override {
		if f.elem.kind != kindAny && f.replacesList(value) {
			continue // which it does anyway
		}
		item, err := f.elem.mergeItem(value)
		errs = append(errs, err.under(index(position))...)
		result = append(result, item)
	}
	return result, errs
}

// mergeItem returns an item of a list that is replaced, clean of nulls and directives.
func (f *mergeField) mergeItem(value any) (any, fieldErrors) {
	switch {
	case f.kind == kindAny:
		return copyJSON(value), nil
	case value == nil:
		return nil, fieldErrors{{message: "must not be null"}}
	}
	if object, ok := value.(map[string]any); ok && object[patchDirective] == patchDelete {
		return nil, fieldErrors{{patchDirective, "this list has no merge key and is replaced as a whole: give the items that are to stay"}}
	}
	item, errs := f.merge(nil, value)
	if item == nil && f.kind != kindLeaf {
		item = map[string]any{}
		if f.kind == kindList {
			item = []any{}
		}
	}
	return item, errs
}
