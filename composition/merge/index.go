package merge

import (
	"container/heap"
	"reflect"
	"sort"
)

// keyedItems is a list map that is being merged, with indexes that find the item that an
// item of an override identifies in O(log n). An item's value, merged and position may be
// changed in place; its key and name only by setKey and setName.
type keyedItems struct {
	field  *fieldType
	items  []keyedItem
	byKey  positions[itemKey]
	byName positions[string]
	byPart map[string]partialMatch // by the first of two keys; nil for lists with one key
}

// partialMatch counts the items with a value of the first key. If there is one item only,
// the sum of the indexes is its index.
type partialMatch struct{ count, sum int }

func newKeyedItems(f *fieldType, capacity int) *keyedItems {
	l := &keyedItems{
		field: f,
		items: make([]keyedItem, 0, capacity),
		byKey: positions[itemKey]{first: make(map[itemKey]int, capacity)},
	}
	if f.matchPortName {
		l.byName.first = make(map[string]int, capacity)
	}
	if len(f.keys) > 1 {
		l.byPart = make(map[string]partialMatch, capacity)
	}
	return l
}

// add appends an item.
func (l *keyedItems) add(item keyedItem) {
	i := len(l.items)
	key, name := item.key, item.name
	item.key, item.name = itemKey{}, ""
	l.items = append(l.items, item)
	l.setKey(i, key)
	l.setName(i, name)
}

// setKey changes the key of an item.
func (l *keyedItems) setKey(i int, key itemKey) {
	before := l.items[i].key
	if key == before {
		return
	}
	l.items[i].key = key
	if key != (itemKey{}) {
		l.byKey.add(key, i, l.hasKey(key))
	}
	if l.byPart == nil {
		return
	}
	if before != (itemKey{}) {
		match := l.byPart[before[0]]
		l.byPart[before[0]] = partialMatch{match.count - 1, match.sum - i}
	}
	if key != (itemKey{}) {
		match := l.byPart[key[0]]
		l.byPart[key[0]] = partialMatch{match.count + 1, match.sum + i}
	}
}

// setName changes the name of an item.
func (l *keyedItems) setName(i int, name string) {
	if name == l.items[i].name {
		return
	}
	l.items[i].name = name
	if name != "" {
		l.byName.add(name, i, l.hasName(name))
	}
}

func (l *keyedItems) hasKey(key itemKey) func(int) bool {
	return func(i int) bool { return l.items[i].key == key }
}

func (l *keyedItems) hasName(name string) func(int) bool {
	return func(i int) bool { return l.items[i].name == name }
}

// findKey returns the index of the first item with a key; -1 if there is none.
func (l *keyedItems) findKey(key itemKey) int {
	if key == (itemKey{}) {
		return -1
	}
	return l.byKey.find(key, l.hasKey(key))
}

// findName returns the index of the first item with the name of object, in lists that match
// by name; otherwise, or if there is none, -1.
func (l *keyedItems) findName(object map[string]any) int {
	name := l.field.keyed(object).name
	if name == "" {
		return -1
	}
	return l.byName.find(name, l.hasName(name))
}

// find returns the index of the item that object identifies; -1 if there is none. It is an
// error if object has not all keys of an item and does not match exactly one item.
func (l *keyedItems) find(object map[string]any) (int, FieldErrors) {
	if i := l.findName(object); i >= 0 {
		return i, nil
	}
	f := l.field
	target := f.keyed(object)
	if target.key != (itemKey{}) {
		return l.findKey(target.key), nil
	}
	part := keyValue(object, f.keys[0])
	if part == "" {
		if target.name != "" {
			return -1, nil
		}
		return -1, f.missingKeys(object)
	}
	// The first of two keys is sufficient if only one item has it.
	match := l.byPart[part]
	switch match.count {
	case 0:
		return -1, nil
	case 1:
		return match.sum, nil
	default:
		errs := f.missingKeys(object)
		errs[0].Message += ", and more than one item would match"
		return -1, errs
	}
}

// match returns for each item of the override the index of the item that it is merged into,
// and appends new items; -1 is for items of the override that are not merged. The order of
// the passes matters: the name of a port takes precedence over its number, and its new number
// over its previous one.
func (l *keyedItems) match(override []any) (targets []int, errs FieldErrors) {
	const pending, none = -2, -1
	f := l.field
	fail := func(err FieldErrors, object map[string]any, position int) {
		if len(err) > 0 {
			errs = append(errs, err.Prefix(f.itemSegment(object, position))...)
		}
	}
	targets = make([]int, len(override))
	for position, value := range override {
		targets[position] = none
		object, ok := value.(map[string]any)
		if !ok {
			errs = append(errs, TypeErrors("an object", value).Prefix(index(position))...)
			continue
		}
		if f.replacesList(object) {
			continue
		}
		directive, err := directiveOf(object)
		fail(err, object, position)
		if directive != patchDelete {
			targets[position] = pending
			continue
		}
		i, err := l.find(object)
		fail(err, object, position)
		if i >= 0 {
			// The item is not removed yet, because the override may add it again.
			l.items[i].value, l.items[i].deleted = nil, true
		}
	}

	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		if i := l.findName(object); i >= 0 {
			l.setIdentity(i, object)
			targets[position] = i
		}
	}
	for position, value := range override {
		if targets[position] != pending {
			continue
		}
		object := value.(map[string]any)
		i, err := l.find(object)
		fail(err, object, position)
		switch {
		case len(err) > 0:
			i = none
		case i >= 0:
			l.setIdentity(i, object)
		default:
			i = len(l.items)
			item := f.keyed(object)
			item.value = nil
			l.add(item)
		}
		targets[position] = i
	}
	return targets, append(errs, l.checkRepeated(targets, override)...)
}

// checkRepeated returns errors for items of an override that identify the same item of the
// list and differ, because one of them would be lost. Ports may each have a part of one
// port, and of environment variables the last one is used, as in a container.
func (l *keyedItems) checkRepeated(targets []int, override []any) (errs FieldErrors) {
	if l.field.lastWins {
		return nil
	}
	first := make([]int, len(l.items)) // position in override, plus one
	for position, target := range targets {
		switch {
		case target < 0:
		case first[target] == 0:
			first[target] = position + 1
		case l.differ(override[first[target]-1], override[position]):
			object, _ := override[position].(map[string]any)
			errs = append(errs, FieldError{l.field.itemSegment(object, position), "is in this list twice, with different content: merge the two, or remove one"})
		}
	}
	return errs
}

// differ reports whether two items for the same item contradict each other.
func (l *keyedItems) differ(a, b any) bool {
	if !l.field.matchPortName {
		return !reflect.DeepEqual(a, b)
	}
	one, _ := a.(map[string]any)
	other, _ := b.(map[string]any)
	for name, value := range one {
		if again, given := other[name]; given && !reflect.DeepEqual(value, again) {
			return true
		}
	}
	return false
}

// setIdentity sets the identity that an item has after object is merged into it.
func (l *keyedItems) setIdentity(i int, object map[string]any) {
	next := l.field.keyed(object)
	if next.name != "" {
		l.setName(i, next.name)
	}
	item := &l.items[i]
	if item.deleted {
		item.deleted = false
		l.setKey(i, next.key)
		return
	}
	key := item.key
	for part, k := range l.field.keys {
		if _, given := object[k.name]; given {
			key[part] = keyValue(object, k)
		}
		if key[part] == "" {
			key = itemKey{}
			break
		}
	}
	l.setKey(i, key)
}

// positions has the index of the first item of a list with an identity. Indexes of items that
// do not have it any more are removed when they are found, which costs O(log n) once for each.
type positions[K comparable] struct {
	first map[K]int
	later map[K]*indexHeap // of identities that several items have or had
}

// add records that item i has an identity. has reports whether an item still has it.
func (p *positions[K]) add(identity K, i int, has func(int) bool) {
	first, found := p.first[identity]
	if !found || !has(first) && p.later[identity] == nil {
		p.first[identity] = i
		return
	}
	if p.later == nil {
		p.later = map[K]*indexHeap{}
	}
	later := p.later[identity]
	if later == nil {
		later = &indexHeap{}
		p.later[identity] = later
	}
	if i < first {
		first, i = i, first
		p.first[identity] = first
	}
	heap.Push(later, i)
}

// find returns the index of the first item with an identity; -1 if there is none.
func (p *positions[K]) find(identity K, has func(int) bool) int {
	first, found := p.first[identity]
	if !found {
		return -1
	}
	for !has(first) {
		later := p.later[identity]
		if later == nil || later.Len() == 0 {
			delete(p.first, identity)
			return -1
		}
		first = heap.Pop(later).(int)
		p.first[identity] = first
	}
	return first
}

// indexHeap is a heap of indexes, the lowest first.
type indexHeap struct{ sort.IntSlice }

func (h *indexHeap) Push(i any) { h.IntSlice = append(h.IntSlice, i.(int)) }

func (h *indexHeap) Pop() any {
	last := len(h.IntSlice) - 1
	i := h.IntSlice[last]
	h.IntSlice = h.IntSlice[:last]
	return i
}
