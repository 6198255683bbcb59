package composition

import (
	"encoding/json"
	"slices"
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
func sameFields(desired any, owned map[string]any, path string) (differing string, same bool) {
	switch desired := desired.(type) {
	case map[string]any:
		return sameMapFields(desired, owned, path)
	case []any:
		return sameListFields(desired, owned, path)
	}
	return path, isLeaf(owned)
}

func sameMapFields(desired map[string]any, owned map[string]any, path string) (string, bool) {
	for _, key := range sortedKeys(desired) {
		below, found := owned["f:"+key].(map[string]any)
		if !found {
			return path + "." + key, false
		}
		if isLeaf(below) {
			continue
		}
		if where, same := sameFields(desired[key], below, path+"."+key); !same {
			return where, false
		}
	}
	for _, key := range sortedKeys(owned) {
		if name, isField := strings.CutPrefix(key, "f:"); isField {
			if _, found := desired[name]; !found {
				return path + "." + name, false
			}
		}
	}
	return "", true
}

func sameListFields(desired []any, owned map[string]any, path string) (string, bool) {
	items := 0
	for _, key := range sortedKeys(owned) {
		kind, text, _ := strings.Cut(key, ":")
		var item any
		switch kind {
		case "k":
			var keys map[string]any
			if json.Unmarshal([]byte(text), &keys) == nil {
				item = itemWithKeys(desired, keys)
			}
		case "v":
			var value any
			if json.Unmarshal([]byte(text), &value) == nil && slices.ContainsFunc(desired, func(item any) bool { return sameScalar(item, value) }) {
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
			if where, same := sameFields(item, below, where); !same {
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
func isLeaf(owned map[string]any) bool {
	_, self := owned["."]
	return len(owned) == 0 || self && len(owned) == 1
}

// itemWithKeys finds the item of a list whose fields have the values of keys. A
// key that the item leaves out may have been defaulted, as a port's protocol is;
// an item that has it goes before.
func itemWithKeys(items []any, keys map[string]any) any {
	var defaulted any
	for _, item := range items {
		fields, isMap := item.(map[string]any)
		if !isMap {
			continue
		}
		matching, missing := 0, 0
		for key, value := range keys {
			switch own, found := fields[key]; {
			case !found:
				missing++
			case sameScalar(own, value):
				matching++
			}
		}
		if matching == len(keys) {
			return item
		}
		if defaulted == nil && matching > 0 && matching+missing == len(keys) {
			defaulted = item
		}
	}
	return defaulted
}

// sameScalar compares decoded JSON scalars, for which a number may be int64 on one
// side and float64 on the other. Lists and maps are the same as nothing.
func sameScalar(a, b any) bool {
	switch a := a.(type) {
	case map[string]any, []any:
		return false
	case int64:
		if b, isFloat := b.(float64); isFloat {
			return float64(a) == b
		}
	case float64:
		if b, isInt := b.(int64); isInt {
			return a == float64(b)
		}
	}
	return a == b
}

func sortedKeys(object map[string]any) []string {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
