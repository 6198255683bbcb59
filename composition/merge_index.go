package composition

import (
	"container/heap"
	"slices"
	"strconv"
)

// Looking for an item takes hardly longer in a long list than in a short one: a list
// may have tens of thousands of items, and each is looked for several times.

// linearItems is how many items are searched one by one: most lists are short, and
// tables would cost more than they save.
const linearItems = 16

// itemIndex finds the items of a keyed list that is being merged, by their keys and
// names. All changes of an item's key or name go through it.
type itemIndex struct {
	field *mergeField
	items []keyedItem
	// tables is nil while there are few items.
	tables *itemTables
}

// itemTables hold the positions of items. That of an item's former key or name stays
// until it is the first one of its table.
type itemTables struct {
	byKey  map[itemKey]*positions
	byName map[string]*positions
	// byFirst are the items with a first part of a key, for those that give no more.
	byFirst map[string]map[int]bool
}

// positions is a heap of indexes.
type positions []int

func (p positions) Len() int           { return len(p) }
func (p positions) Less(i, j int) bool { return p[i] < p[j] }
func (p positions) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *positions) Push(x any)        { *p = append(*p, x.(int)) }
func (p *positions) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

func newItemIndex(field *mergeField, size int) *itemIndex {
	return &itemIndex{field: field, items: make([]keyedItem, 0, size)}
}

// add appends an item and returns its position.
func (x *itemIndex) add(item keyedItem) int {
	x.items = append(x.items, item)
	switch {
	case x.tables != nil:
		x.enter(len(x.items) - 1)
	case len(x.items) > linearItems:
		x.tables = &itemTables{byKey: make(map[itemKey]*positions, cap(x.items)), byName: map[string]*positions{}, byFirst: map[string]map[int]bool{}}
		for position := range x.items {
			x.enter(position)
		}
	}
	return len(x.items) - 1
}

// change lets edit give the item at a position another key, name or value.
func (x *itemIndex) change(position int, edit func(item *keyedItem)) {
	item := &x.items[position]
	before := *item
	edit(item)
	if x.tables == nil || item.key == before.key && item.name == before.name {
		return
	}
	if before.key != item.key {
		delete(x.tables.byFirst[before.key[0]], position)
	}
	x.enter(position)
}

// enter makes an item known by its key and name.
func (x *itemIndex) enter(position int) {
	item := x.items[position]
	if item.key != (itemKey{}) {
		enter(x.tables.byKey, item.key, position)
		if len(x.field.keys) > 1 {
			if x.tables.byFirst[item.key[0]] == nil {
				x.tables.byFirst[item.key[0]] = map[int]bool{}
			}
			x.tables.byFirst[item.key[0]][position] = true
		}
	}
	if item.name != "" {
		enter(x.tables.byName, item.name, position)
	}
}

func enter[K comparable](in map[K]*positions, key K, position int) {
	if in[key] == nil {
		in[key] = &positions{}
	}
	heap.Push(in[key], position)
}

// first is the first position of a key for which holds is true; -1 if there is none.
func first[K comparable](in map[K]*positions, key K, holds func(position int) bool) int {
	known := in[key]
	for known != nil && known.Len() > 0 {
		if top := (*known)[0]; holds(top) {
			return top
		}
		heap.Pop(known)
	}
	return -1
}

// withKey is the position of the first item with a key; -1 if there is none.
func (x *itemIndex) withKey(key itemKey) int {
	switch {
	case key == (itemKey{}):
		return -1
	case x.tables == nil:
		return slices.IndexFunc(x.items, func(item keyedItem) bool { return item.key == key })
	}
	return first(x.tables.byKey, key, func(position int) bool { return x.items[position].key == key })
}

// withName is the position of the first item with a name; -1 if there is none.
func (x *itemIndex) withName(name string) int {
	switch {
	case name == "":
		return -1
	case x.tables == nil:
		return slices.IndexFunc(x.items, func(item keyedItem) bool { return item.name == name })
	}
	return first(x.tables.byName, name, func(position int) bool { return x.items[position].name == name })
}

// withFirst are the positions of the items with a first part of a key; of more than
// one, at least two.
func (x *itemIndex) withFirst(part string) []int {
	var found []int
	if x.tables == nil {
		for position, item := range x.items {
			if item.key != (itemKey{}) && item.key[0] == part {
				found = append(found, position)
			}
		}
		return found
	}
	for position := range x.tables.byFirst[part] {
		if found = append(found, position); len(found) > 1 {
			break
		}
	}
	return found
}

// find returns the position of the item that object means, -1 if there is none. It
// is an error if object does not say which it means, or not enough.
func (x *itemIndex) find(object map[string]any) (int, fieldErrors) {
	wanted := x.field.keyed(object)
	if i := x.withName(wanted.name); i >= 0 {
		return i, nil
	}
	if wanted.key != (itemKey{}) {
		return x.withKey(wanted.key), nil
	}
	firstPart := keyValue(object, x.field.keys[0])
	if firstPart == "" {
		if wanted.name != "" {
			return -1, nil
		}
		return -1, x.field.lacksKey(object)
	}
	// A part of the key is enough if it means one item only.
	switch candidates := x.withFirst(firstPart); len(candidates) {
	case 0:
		return -1, nil
	case 1:
		return candidates[0], nil
	}
	errs := x.field.lacksKey(object)
	errs[0].message += ", and more than one item would match"
	return -1, errs
}

// scalarText is the same for scalars that are equal, and for no others. Anything
// else has none.
func scalarText(value any) (text string, ok bool) {
	switch value := value.(type) {
	case string:
		return `"` + value, true
	case bool:
		return strconv.FormatBool(value), true
	case int64:
		return strconv.FormatInt(value, 10), true
	case float64:
		if whole := int64(value); float64(whole) == value {
			return strconv.FormatInt(whole, 10), true
		}
		return strconv.FormatFloat(value, 'g', -1, 64), true
	}
	return "", false
}

// scalarSet is a set of scalars.
type scalarSet map[string]bool

// add adds a scalar, and reports whether it is new. What is no scalar always is.
func (s scalarSet) add(value any) bool {
	text, ok := scalarText(value)
	if ok && s[text] {
		return false
	}
	if ok {
		s[text] = true
	}
	return true
}

func (s scalarSet) has(value any) bool {
	text, ok := scalarText(value)
	return ok && s[text]
}
