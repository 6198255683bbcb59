package merge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyedItem is an item of a keyed list while the list is being merged.
type keyedItem struct {
	// value is the base's item until one of the override is merged into it; nil
	// where there is none, or none any more.
	value any
	// key is the item's identity and name its port name; without either, nothing of the
	// override can mean it.
	key  itemKey
	name string
	// merged items are ours and were first named at position in the override; the others
	// still belong to the base.
	merged   bool
	position int
	// gone items are not in the result.
	deleted bool
}

// itemKey holds the values of a list's keys, of which no list has more than two.
// The zero value is no identity.
type itemKey [2]string

// mergeKeyed lays the items of one keyed list over those of another. Items of the
// base that have no key, or are no objects, stay as they are: the base is not ours to judge.
//
// Which item of the base each of the override means is settled before anything is
// merged. So two ports may swap their numbers, and merging the result with the same override
// once more changes nothing.
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

// keyed reads the identity of an item.
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

// lacksKey is the error of an item that lacks keys.
func (f *fieldType) missingKeys(object map[string]any) FieldErrors {
	var missing []string
	for _, key := range f.keys {
		if keyValue(object, key) == "" {
			missing = append(missing, key.name)
		}
	}
	return FieldErrors{{Message: "lacks its merge key " + strings.Join(missing, " and ")}}
}

// replacesList tells whether an item is no item but the order to forget the base's
// list. With a key beside it, the directive concerns that item alone.
func (f *fieldType) replacesList(item any) bool {
	object, ok := item.(map[string]any)
	return ok && len(object) == 1 && object[patchDirective] == patchReplace
}

// checkKeys finds merged items that lack their keys, and those that have come to
// the same: a port that was moved by its name onto the number of another.
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
		other, taken := first[item.key]
		if !taken {
			first[item.key] = i
			continue
		}
		errs = append(errs, FieldError{
			f.itemSegment(object, i),
			fmt.Sprintf("has the %s %s, which is that of %s too",
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

// replaceList returns the override's list as it goes into the result, where it
// takes the place of the base's.
func (f *fieldType) replaceList(override []any) (any, FieldErrors) {
	var errs FieldErrors
	result := make([]any, 0, len(override))
	for position, value := range override {
		if f.elem.shape != shapeUnknown && f.replacesList(value) {
			continue // which it does anyway
		}
		item, err := f.elem.mergeItem(value)
		if len(err) > 0 {
			errs = append(errs, err.Prefix(index(position))...)
		}
		result = append(result, item)
	}
	return result, errs
}

// mergeItem returns an item of a list that is replaced, clean of nulls and directives.
func (f *fieldType) mergeItem(value any) (any, FieldErrors) {
	switch {
	case f.shape == shapeUnknown:
		return copyJSON(value), nil
	case value == nil:
		return nil, FieldErrors{{Message: "must not be null"}}
	}
	if object, ok := value.(map[string]any); ok && object[patchDirective] == patchDelete {
		return nil, FieldErrors{{patchDirective, "this list has no merge key and is replaced as a whole: give the items that are to stay"}}
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
