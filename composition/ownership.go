package composition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// TrimManagedFields drops every managedFields entry of object that is not
// manager's. Caches use it as a transform: the entries of others are most of an
// object's size and nothing here reads them.
func TrimManagedFields(object metav1.Object, manager string) {
	entries := object.GetManagedFields()
	kept := make([]metav1.ManagedFieldsEntry, 0, 1)
	for _, entry := range entries {
		if entry.Manager == manager {
			kept = append(kept, entry)
		}
	}
	object.SetManagedFields(kept)
}

// appliedFields is the decoded FieldsV1 of what manager owns of object by
// server-side apply; nil if it has applied nothing.
func appliedFields(object metav1.Object, manager string) map[string]any {
	for _, entry := range object.GetManagedFields() {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply ||
			entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return nil
		}
		return fields
	}
	return nil
}

// sameFields tells whether the fields that an apply configuration holds are just
// those that owned, the FieldsV1 of an earlier apply, names. A field that is
// missing from owned was taken by another manager; one that is missing from the
// configuration is to be removed. Where the two differ, path names the place.
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
	return "", true
}

func sameMapFields(desired, owned map[string]any, path string) (string, bool) {
	for key, value := range desired {
		below, found := owned["f:"+key].(map[string]any)
		if !found {
			return path + "." + key, false
		}
		if isLeaf(below) {
			continue
		}
		if where, same := sameFields(value, below, path+"."+key); !same {
			return where, false
		}
	}
	for key := range owned {
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
	for key, below := range owned {
		var item any
		switch {
		case strings.HasPrefix(key, "k:"):
			var keys map[string]any
			if json.Unmarshal([]byte(key[2:]), &keys) != nil {
				return path, false
			}
			item = itemWithKeys(desired, keys)
		case strings.HasPrefix(key, "v:"):
			var value any
			if json.Unmarshal([]byte(key[2:]), &value) == nil && slices.Contains(desired, value) {
				item = value
			}
		default:
			continue
		}
		if item == nil {
			return path + "[" + key[2:] + "]", false
		}
		items++
		if below, _ := below.(map[string]any); !isLeaf(below) {
			if where, same := sameFields(item, below, path+"["+key[2:]+"]"); !same {
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
	if len(owned) == 0 {
		return true
	}
	_, self := owned["."]
	return self && len(owned) == 1
}

// itemWithKeys finds the item of a list whose fields have the values of keys.
func itemWithKeys(items []any, keys map[string]any) any {
	for _, item := range items {
		fields, isMap := item.(map[string]any)
		if !isMap {
			continue
		}
		matches := true
		for key, value := range keys {
			matches = matches && sameScalar(fields[key], value)
		}
		if matches {
			return item
		}
	}
	return nil
}

// sameScalar compares decoded JSON scalars, for which numbers may be int64 on one
// side and float64 on the other.
func sameScalar(a, b any) bool {
	return a == b || fmt.Sprint(a) == fmt.Sprint(b) && isNumber(a) && isNumber(b)
}

func isNumber(value any) bool {
	switch value.(type) {
	case int64, float64:
		return true
	}
	return false
}

// previousManagers are the managers whose `Update` entries hold the reference to
// owner: whoever wrote it is the operator that made the object before us.
func previousManagers(object metav1.Object, owner Owner) sets.Set[string] {
	managers := sets.New[string]()
	reference := fieldpath.MakePathOrDie("metadata", "ownerReferences", fieldpath.KeyByFields("uid", string(owner.UID)))
	for _, entry := range object.GetManagedFields() {
		if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			continue
		}
		if fields.Has(reference) {
			managers.Insert(entry.Manager)
		}
	}
	return managers
}

// takeOver gives manager, by server-side apply, what previous managers of live
// own by `Update`, so that a field which we do not send goes away instead of
// staying theirs for ever. It changes live's managedFields in place.
func takeOver(live *unstructured.Unstructured, owner Owner, manager string) error {
	previous := previousManagers(live, owner)
	if err := csaupgrade.UpgradeManagedFields(live, previous, manager); err != nil {
		return fmt.Errorf("migrate the field ownership of %s: %w", KeyOf(live), err)
	}
	return nil
}

// giveUp removes a field from what manager owns of live by server-side apply, so
// that the next apply, which does not send it, leaves its live value alone. It
// changes live's managedFields in place and tells whether there was anything to do.
func giveUp(live *unstructured.Unstructured, manager string, field ...any) (bool, error) {
	path := fieldpath.MakePathOrDie(field...)
	entries := live.GetManagedFields()
	for i, entry := range entries {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply ||
			entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return false, fmt.Errorf("read the field ownership of %s: %w", KeyOf(live), err)
		}
		if !fields.Has(path) {
			continue
		}
		raw, err := fields.Difference(fieldpath.NewSet(path)).ToJSON()
		if err != nil {
			return false, fmt.Errorf("write the field ownership of %s: %w", KeyOf(live), err)
		}
		entries[i].FieldsV1 = metav1.NewFieldsV1(string(raw))
		live.SetManagedFields(entries)
		return true, nil
	}
	return false, nil
}
