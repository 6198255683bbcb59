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
	items := make([]keyedItem, 0, len(base)+len(override))
	if !slices.ContainsFunc(override, f.replacesList) {
		for _, value := range base {
			item := f.keyed(value)
			if i := f.findKey(items, item.key); i >= 0 {
				items[i] = item
				continue
			}
			items = append(items, item)
		}
	}

	items, targets, errs := f.match(items, override)
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

// match finds for each item of the override the one that it means, to which it
// adds what is new; -1 stands for those that are not to be merged. It is in this order that
// a port's name comes before its number, and the number that a port will have before
// the one that it had.
func (f *mergeField) match(items []keyedItem, override []any) (all []keyedItem, targets []int, errs fieldErrors) {
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
		i, err := f.find(items, object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		if i >= 0 {
			// Its place stays, for the case that the override gives the item anew.
			items[i].value, items[i].gone = nil, true
		}
	}

	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		if i := f.findName(items, object); i >= 0 {
			items[i].claim(f, object)
			targets[position] = i
		}
	}
	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		i, err := f.find(items, object)
		errs = append(errs, err.under(f.itemSegment(object, position))...)
		switch {
		case len(err) > 0:
			i = none
		case i >= 0:
			items[i].claim(f, object)
		default:
			i = len(items)
			item := f.keyed(object)
			item.value = nil
			items = append(items, item)
		}
		targets[position] = i
	}
	return items, targets, errs
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

// find returns the index of the item that object means, -1 if there is none. It
// is an error if object says nothing of which it means, or not enough.
func (f *mergeField) find(items []keyedItem, object map[string]any) (int, fieldErrors) {
	if i := f.findName(items, object); i >= 0 {
		return i, nil
	}
	wanted := f.keyed(object)
	if wanted.key != (itemKey{}) {
		return f.findKey(items, wanted.key), nil
	}
	if keyValue(object, f.keys[0]) == "" {
		if wanted.name != "" {
			return -1, nil
		}
		return -1, f.lacksKey(object)
	}
	// A part of the key is enough if it means one item only.
	found := -1
	for i, item := range items {
		if !f.agrees(item.key, object) {
			continue
		}
		if found >= 0 {
			errs := f.lacksKey(object)
			errs[0].message += ", and more than one item would match"
			return -1, errs
		}
		found = i
	}
	return found, nil
}

// agrees tells whether an item has those keys that object gives.
func (f *mergeField) agrees(key itemKey, object map[string]any) bool {
	if key == (itemKey{}) {
		return false
	}
	for i, k := range f.keys {
		if part := keyValue(object, k); part != "" && part != key[i] {
			return false
		}
	}
	return true
}

// findName returns the index of the item with the name of object, if items have one
// and it is known; otherwise -1.
func (f *mergeField) findName(items []keyedItem, object map[string]any) int {
	name := f.keyed(object).name
	if name == "" {
		return -1
	}
	return slices.IndexFunc(items, func(item keyedItem) bool { return item.name == name })
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
		items[i] = f.keyed(value)
	}
	return f.find(items, object)
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
	for i, item := range items {
		object, ok := item.value.(map[string]any)
		if !ok {
			continue
		}
		if item.merged && f.keyed(object).key == (itemKey{}) {
			errs = append(errs, f.lacksKey(object).under(f.itemSegment(object, item.position))...)
			continue
		}
		if first := f.findKey(items[:i], item.key); f.byName && first >= 0 {
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
