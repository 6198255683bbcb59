package composition

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
	gone bool
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
func (f *mergeField) mergeKeyed(base, override []any) (any, fieldErrors) {
	index := newItemIndex(f, len(base)+len(override))
	if !slices.ContainsFunc(override, f.replacesList) {
		for _, value := range base {
			item := f.keyed(value)
			if i := index.withKey(item.key); i >= 0 {
				index.change(i, func(known *keyedItem) { *known = item })
				continue
			}
			index.add(item)
		}
	}

	targets, errs := f.match(index, override)
	items := index.items
	for position, target := range targets {
		if target < 0 {
			continue
		}
		item := &items[target]
		object := override[position].(map[string]any)
		below, _ := item.value.(map[string]any)
		merged, err := f.elem.mergeObject(below, object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		if !item.merged {
			item.merged, item.position = true, position
		}
		item.value = merged
	}
	errs = append(errs, f.checkKeys(items)...)

	result := make([]any, 0, len(items))
	for _, item := range items {
		switch {
		case item.gone:
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

// match finds for each item of the override the known one that it means, and adds
// what is new to those; -1 stands for those that are not to be merged. It is in this order that
// a port's name comes before its number, and the number that a port will have before
// the one that it had.
func (f *mergeField) match(known *itemIndex, override []any) (targets []int, errs fieldErrors) {
	const pending, none = -2, -1
	targets = make([]int, len(override))
	for position, value := range override {
		targets[position] = none
		object, ok := value.(map[string]any)
		if !ok {
			errs = append(errs, wrongType("an object", value).under(index(position))...)
			continue
		}
		if f.replacesList(object) {
			continue
		}
		directive, err := directiveOf(object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		if directive != patchDelete {
			targets[position] = pending
			continue
		}
		i, err := known.find(object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		if i >= 0 {
			// Its place stays, for the case that the override gives the item anew.
			known.items[i].value, known.items[i].gone = nil, true
		}
	}

	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		if i := known.withName(f.keyed(object).name); i >= 0 {
			known.change(i, func(item *keyedItem) { item.claim(f, object) })
			targets[position] = i
		}
	}
	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		i, err := known.find(object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		switch {
		case len(err) > 0:
			i = none
		case i >= 0:
			known.change(i, func(item *keyedItem) { item.claim(f, object) })
		default:
			item := f.keyed(object)
			item.value = nil
			i = known.add(item)
		}
		targets[position] = i
	}
	return targets, append(errs, f.checkRepeated(known.items, targets, override)...)
}

// checkRepeated finds items of an override that mean the same item of the list. The
// API server refuses such a list, and one of them would be lost.
func (f *mergeField) checkRepeated(items []keyedItem, targets []int, override []any) (errs fieldErrors) {
	taken := make([]bool, len(items))
	for position, target := range targets {
		if target < 0 {
			continue
		}
		if taken[target] {
			object, _ := override[position].(map[string]any)
			errs = append(errs, fieldError{f.itemSegment(object, position), "is in this list twice: remove one"})
		}
		taken[target] = true
	}
	return errs
}

// claim gives an item the identity that it will have when object has been merged into it.
func (item *keyedItem) claim(f *mergeField, object map[string]any) {
	will := f.keyed(object)
	if will.name != "" {
		item.name = will.name
	}
	if item.gone {
		item.gone, item.key = false, will.key
		return
	}
	for i, key := range f.keys {
		if _, given := object[key.name]; given {
			item.key[i] = keyValue(object, key)
		}
		if item.key[i] == "" {
			item.key = itemKey{}
			return
		}
	}
}

// keyed reads the identity of an item.
func (f *mergeField) keyed(value any) keyedItem {
	item := keyedItem{value: value}
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

// lacksKey is the error of an item that lacks keys.
func (f *mergeField) lacksKey(object map[string]any) fieldErrors {
	var missing []string
	for _, key := range f.keys {
		if keyValue(object, key) == "" {
			missing = append(missing, key.name)
		}
	}
	return fieldErrors{{message: "lacks its merge key " + strings.Join(missing, " and ")}}
}

// replacesList tells whether an item is no item but the order to forget the base's
// list. With a key beside it, the directive concerns that item alone.
func (f *mergeField) replacesList(item any) bool {
	object, ok := item.(map[string]any)
	return ok && len(object) == 1 && object[patchDirective] == patchReplace
}

// checkKeys finds merged items that lack their keys, and those that have come to
// the same: a port that was moved by its name onto the number of another.
func (f *mergeField) checkKeys(items []keyedItem) (errs fieldErrors) {
	firsts := map[itemKey]int{}
	for i, item := range items {
		first, repeated := firsts[item.key]
		if f.byName && !repeated && item.key != (itemKey{}) {
			firsts[item.key] = i
		}
		object, ok := item.value.(map[string]any)
		if !ok {
			continue
		}
		if item.merged && f.keyed(object).key == (itemKey{}) {
			errs = append(errs, f.lacksKey(object).under(f.itemSegment(object, item.position))...)
			continue
		}
		if repeated {
			other, _ := items[first].value.(map[string]any)
			errs = append(errs, fieldError{
				f.itemSegment(object, i),
				fmt.Sprintf("has the %s %s, which is that of %s too",
					f.keys[0].name, strings.Join(item.key[:], "/"), f.itemSegment(other, first)),
			})
		}
	}
	return errs
}

// mergeSet adds the scalars of one list to those of another.
func (f *mergeField) mergeSet(base, override []any) (any, fieldErrors) {
	result := make([]any, 0, len(base)+len(override))
	known := make(scalarSet, len(base)+len(override))
	for _, value := range base {
		if known.add(value) {
			result = append(result, copyJSON(value))
		}
	}
	var errs fieldErrors
	for position, value := range override {
		errs = append(errs, f.elem.checkLeaf(value).under(index(position))...)
		if known.add(value) {
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
