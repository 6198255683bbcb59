package managedfields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// OwnsExactly reports whether owned, the decoded FieldsV1 of an earlier apply, has exactly
// the fields of an apply configuration. A field that is missing from owned was taken by
// another manager; a field that is missing from the configuration would be removed.
// differing is the path of the first difference, below path.
//
// FieldsV1 is a trie: `f:` keys are fields, `k:` keys are list items with these key fields,
// `v:` keys are members of a set. An empty value is a leaf: the value is owned as a whole.
func OwnsExactly(desired any, owned map[string]any, path string) (differing string, same bool) {
	switch desired := desired.(type) {
	case map[string]any:
		return mapOwnsExactly(desired, owned, path)
	case []any:
		return listOwnsExactly(desired, owned, path)
	}
	return path, isLeaf(owned)
}

func mapOwnsExactly(desired map[string]any, owned map[string]any, path string) (string, bool) {
	for _, key := range slices.Sorted(maps.Keys(desired)) {
		below, found := owned["f:"+key].(map[string]any)
		if !found {
			return path + "." + key, false
		}
		if isLeaf(below) {
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
	items, index := 0, newListIndex(desired)
	for _, key := range slices.Sorted(maps.Keys(owned)) {
		kind, text, _ := strings.Cut(key, ":")
		var item any
		switch kind {
		case "k":
			var keys map[string]any
			if json.Unmarshal([]byte(text), &keys) == nil {
				item = index.withKeys(keys)
			}
		case "v":
			var value any
			if json.Unmarshal([]byte(text), &value) == nil && index.has(value) {
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
		if below, _ := owned[key].(map[string]any); !isLeaf(below) {
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

// isLeaf reports whether a node of a trie is owned as a whole: it has no entries, or only
// `.`, which is the item itself.
func isLeaf(owned map[string]any) bool {
	_, self := owned["."]
	return len(owned) == 0 || self && len(owned) == 1
}

// listIndex finds the items of a list by the values of their keys, in constant time.
type listIndex struct {
	items []any
	// byKeys has the positions of items, by the names of the keys and then by their values;
	// values has all scalars of the list. Both are created when they are first needed.
	byKeys map[string]map[string]int
	values map[string]bool
}

func newListIndex(items []any) *listIndex { return &listIndex{items: items} }

// withKeys returns the first item whose fields have the values of keys; nil if there is
// none. A key that an item does not have may have been defaulted, like the protocol of a
// port; an item that has all keys is preferred.
func (t *listIndex) withKeys(keys map[string]any) any {
	names := slices.Sorted(maps.Keys(keys))
	of := strings.Join(names, "\x00")
	if t.byKeys[of] == nil {
		t.addKeys(of, names)
	}
	best := -1
	// Bit i of missing is set if the item does not have key i. Lists have few keys.
	for missing := range 1<<len(names) - 1 {
		text, ok := keysText(keys, names, missing)
		if position, found := t.byKeys[of][text]; ok && found && (best < 0 || position < best) {
			best = position
		}
		if missing == 0 && best >= 0 {
			break
		}
	}
	if best < 0 {
		return nil
	}
	return t.items[best]
}

// addKeys indexes the items by the keys with these names.
func (t *listIndex) addKeys(of string, names []string) {
	positions := make(map[string]int, len(t.items))
	for position, item := range t.items {
		fields, isMap := item.(map[string]any)
		if !isMap {
			continue
		}
		missing := 0
		for i, name := range names {
			if _, found := fields[name]; !found {
				missing |= 1 << i
			}
		}
		text, ok := keysText(fields, names, missing)
		if _, taken := positions[text]; ok && !taken {
			positions[text] = position
		}
	}
	if t.byKeys == nil {
		t.byKeys = map[string]map[string]int{}
	}
	t.byKeys[of] = positions
}

// keysText returns a text that is equal for equal values of the named fields, without the
// missing ones. ok is false if a value is not a scalar.
func keysText(fields map[string]any, names []string, missing int) (text string, ok bool) {
	var all strings.Builder
	for i, name := range names {
		if missing&(1<<i) != 0 {
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

// scalarText returns a text that is equal for equal scalars, whether numbers are int64 or
// float64. ok is false if value is not a scalar.
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
