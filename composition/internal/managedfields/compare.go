package managedfields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// sameFields tells whether the fields that an apply configuration holds are just
// those that owned, the FieldsV1 of an earlier apply, names. A field that is
// missing from owned was taken by another manager; one that is missing from the
// configuration is to be removed. Where the two differ, differing names the place.
//
// FieldsV1 is a trie: `f:` keys are fields, `k:` keys are the list items with
// those key fields, `v:` keys the members of a set, and an empty value is a leaf,
// below which the whole of the value is owned.
func OwnsExactly(desired any, owned map[string]any, path string) (differing string, same bool) {
	switch desired := desired.(type) {
	case map[string]any:
		return mapOwnsExactly(desired, owned, path)
	case []any:
		return listOwnsExactly(desired, owned, path)
	}
	return path, IsLeaf(owned)
}

func mapOwnsExactly(desired map[string]any, owned map[string]any, path string) (string, bool) {
	for _, key := range slices.Sorted(maps.Keys(desired)) {
		below, found := owned["f:"+key].(map[string]any)
		if !found {
			return path + "." + key, false
		}
		if IsLeaf(below) {
			continue
		}
		if where, same := OwnsExactly(desired[key], below, path+"."+key); !same {
			return where, false
		}
	}
	for _, key := range slices.Sorted(maps.Keys(owned)) {
		if name, isField := strings.CutPrefix(key, "f:"); isField {
			if _, found := desired[name]; !found {
				return path + "." + name, false
			}
		}
	}
	return "", true
}

func listOwnsExactly(desired []any, owned map[string]any, path string) (string, bool) {
	items, known := 0, newListIndex(desired)
	for _, key := range slices.Sorted(maps.Keys(owned)) {
		kind, text, _ := strings.Cut(key, ":")
		var item any
		switch kind {
		case "k":
			var keys map[string]any
			if json.Unmarshal([]byte(text), &keys) == nil {
				item = known.withKeys(keys)
			}
		case "v":
			var value any
			if json.Unmarshal([]byte(text), &value) == nil && known.has(value) {
				item = value
			}
		default:
			continue
		}
		where := path + "[" + text + "]"
		if item == nil {
			return where, false
		}
		items++
		if below, _ := owned[key].(map[string]any); !IsLeaf(below) {
			if where, same := OwnsExactly(item, below, where); !same {
				return where, false
			}
		}
	}
	if items != len(desired) {
		return path, false
	}
	return "", true
}

// isLeaf tells a trie node below which everything is owned as one: it has no
// entries but perhaps `.`, which stands for the item itself.
func IsLeaf(owned map[string]any) bool {
	_, self := owned["."]
	return len(owned) == 0 || self && len(owned) == 1
}

// itemTable finds the items of a list by the values of their keys, in constant time.
type listIndex struct {
	items []any
	// byKeys are the positions of items, by the names of the keys and then by their
	// values; values are all scalars of the list. Both are made when they are needed.
	byKeys map[string]map[string]int
	values map[string]bool
}

func newListIndex(items []any) *listIndex { return &listIndex{items: items} }

// withKeys finds the item whose fields have the values of keys; nil if there is none.
// A key that the item leaves out may have been defaulted, as a port's protocol is; an
// item that has it is preferred.
func (t *listIndex) withKeys(keys map[string]any) any {
	names := slices.Sorted(maps.Keys(keys))
	of := strings.Join(names, "\x00")
	if t.byKeys[of] == nil {
		t.addKeys(of, names)
	}
	best := -1
	// Bit i of left is set where the item leaves the key out. No list has more than a
	// few keys.
	for left := range 1<<len(names) - 1 {
		text, ok := keysText(keys, names, left)
		if position, found := t.byKeys[of][text]; ok && found && (best < 0 || position < best) {
			best = position
		}
		if left == 0 && best >= 0 {
			break
		}
	}
	if best < 0 {
		return nil
	}
	return t.items[best]
}

// addKeys indexes the items by keys of these names.
func (t *listIndex) addKeys(of string, names []string) {
	positions := make(map[string]int, len(t.items))
	for position, item := range t.items {
		fields, isMap := item.(map[string]any)
		if !isMap {
			continue
		}
		left := 0
		for i, name := range names {
			if _, found := fields[name]; !found {
				left |= 1 << i
			}
		}
		text, ok := keysText(fields, names, left)
		if _, taken := positions[text]; ok && !taken {
			positions[text] = position
		}
	}
	if t.byKeys == nil {
		t.byKeys = map[string]map[string]int{}
	}
	t.byKeys[of] = positions
}

// keysText is the same for the same values of the named fields, less those that are
// left out.
func keysText(fields map[string]any, names []string, left int) (text string, ok bool) {
	var all strings.Builder
	for i, name := range names {
		if left&(1<<i) != 0 {
			all.WriteString("-,")
			continue
		}
		value, isScalar := scalarText(fields[name])
		if !isScalar {
			return "", false
		}
		fmt.Fprintf(&all, "%d:%s,", len(value), value)
	}
	return all.String(), true
}

// has reports whether a scalar is in the list.
func (t *listIndex) has(value any) bool {
	if t.values == nil {
		t.values = make(map[string]bool, len(t.items))
		for _, item := range t.items {
			if text, ok := scalarText(item); ok {
				t.values[text] = true
			}
		}
	}
	text, ok := scalarText(value)
	return ok && t.values[text]
}

// scalarText is the same for scalars that sameScalar takes for the same.
func scalarText(value any) (text string, ok bool) {
	switch value := value.(type) {
	case string:
		return `"` + value, true
	case bool:
		return strconv.FormatBool(value), true
	case int64:
		return strconv.FormatFloat(float64(value), 'g', -1, 64), true
	case float64:
		return strconv.FormatFloat(value, 'g', -1, 64), true
	case nil:
		return "null", true
	}
	return "", false
}
