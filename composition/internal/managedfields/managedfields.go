package managedfields

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Trim removes the managedFields entries of other managers, except for those that decide
// whether a labelled object without a controller is adopted. It is used as a cache transform: the
// entries of other managers are most of the size of an object, and are only read from the API
// server.
func Trim(obj metav1.Object, options object.Options) {
	var kept []metav1.ManagedFieldsEntry
	adoptable := metav1.GetControllerOfNoCopy(obj) == nil && obj.GetLabels()[options.OwnerLabel()] != ""
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == options.FieldManager || adoptable && slices.Contains(options.ManifestManagers, entry.Manager) {
			kept = append(kept, entry)
		}
	}
	obj.SetManagedFields(kept)
}

// SetsOwnerLabel reports whether entry is that of a program which applies rendered manifests,
// and has the owner label; see [object.Options.ManifestManagers].
func SetsOwnerLabel(options object.Options, entry metav1.ManagedFieldsEntry) bool {
	if entry.Subresource != "" || entry.FieldsV1 == nil || !slices.Contains(options.ManifestManagers, entry.Manager) {
		return false
	}
	fields := &fieldpath.Set{}
	err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes()))
	return err == nil && fields.Has(Path([]string{"metadata", "labels", options.OwnerLabel()}))
}

// MoveToOwnEntry moves the fields of the entries that selected returns true for to the Apply
// entry of manager, which must exist. It changes obj's managedFields.
func MoveToOwnEntry(obj *unstructured.Unstructured, manager string, selected func(metav1.ManagedFieldsEntry) bool) error {
	moved := fieldpath.NewSet()
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range obj.GetManagedFields() {
		if IsOwnEntry(entry, manager) || !selected(entry) {
			kept = append(kept, entry)
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return fmt.Errorf("read field ownership of %s: %w", entry.Manager, err)
		}
		moved = moved.Union(fields)
	}
	if moved.Empty() {
		return nil
	}
	obj.SetManagedFields(kept)
	_, err := UpdateOwnEntry(obj, manager, moved.Union)
	return err
}

// IsOwnEntry reports whether entry has the fields that manager owns by server-side apply.
func IsOwnEntry(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply &&
		entry.Subresource == "" && entry.FieldsV1 != nil
}

// Own returns the decoded FieldsV1 of the fields of obj that manager owns by server-side
// apply; nil if it has applied none. The result is part of obj and must not be changed.
// GetManagedFields is not used, because it encodes and decodes the entries.
func Own(obj *unstructured.Unstructured, manager string) map[string]any {
	metadata, _ := obj.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	for _, each := range entries {
		entry, _ := each.(map[string]any)
		if entry["manager"] != manager || entry["operation"] != string(metav1.ManagedFieldsOperationApply) {
			continue
		}
		if subresource, _ := entry["subresource"].(string); subresource != "" {
			continue
		}
		fields, _ := entry["fieldsV1"].(map[string]any)
		return fields
	}
	return nil
}

// OwnWithoutOwnerRefs returns [Own] without the owner references. Caches do not keep the UID
// in these, so their ownership is compared without it.
func OwnWithoutOwnerRefs(obj *unstructured.Unstructured, manager string) map[string]any {
	fields := Own(obj, manager)
	metadata, found := fields["f:metadata"].(map[string]any)
	if !found {
		return fields
	}
	fields, metadata = maps.Clone(fields), maps.Clone(metadata)
	delete(metadata, "f:ownerReferences")
	fields["f:metadata"] = metadata
	return fields
}

// Owns reports whether manager's last apply to live had the field at path.
func Owns(live *unstructured.Unstructured, manager string, path ...string) bool {
	fields := Own(live, manager)
	for _, name := range path {
		below, found := fields["f:"+name].(map[string]any)
		if !found {
			return false
		}
		fields = below
	}
	return fields != nil
}

// Release removes the fields at paths from those that manager owns of live by server-side
// apply, so that the next apply, which does not send them, does not remove them. It changes
// live's managedFields and reports whether they differ.
func Release(live *unstructured.Unstructured, manager string, paths [][]string) (bool, error) {
	return UpdateOwnEntry(live, manager, func(owned *fieldpath.Set) *fieldpath.Set {
		dropped := fieldpath.NewSet()
		for _, path := range paths {
			dropped.Insert(Path(path))
		}
		return owned.RecursiveDifference(dropped)
	})
}

// UpdateOwnEntry changes the set of fields that manager owns of live by server-side apply,
// and reports whether it differs. Without such an entry it does nothing.
func UpdateOwnEntry(live *unstructured.Unstructured, manager string, edit func(*fieldpath.Set) *fieldpath.Set) (bool, error) {
	entries := live.GetManagedFields()
	for i, entry := range entries {
		if !IsOwnEntry(entry, manager) {
			continue
		}
		owned := &fieldpath.Set{}
		if err := owned.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return false, fmt.Errorf("read field ownership: %w", err)
		}
		edited := edit(owned)
		if edited.Equals(owned) {
			return false, nil
		}
		raw, err := edited.ToJSON()
		if err != nil {
			return false, fmt.Errorf("write field ownership: %w", err)
		}
		entries[i].FieldsV1 = metav1.NewFieldsV1(string(raw))
		live.SetManagedFields(entries)
		return true, nil
	}
	return false, nil
}

// Path returns a path of fields in the form of structured-merge-diff.
func Path(names []string) fieldpath.Path {
	path := make(fieldpath.Path, len(names))
	for i := range names {
		path[i] = fieldpath.PathElement{FieldName: &names[i]}
	}
	return path
}

// Patch returns a merge patch that sets the managedFields of live, and labels and
// annotations in addition. It has live's resourceVersion as its precondition.
func Patch(live *unstructured.Unstructured, labels, annotations map[string]string) ([]byte, error) {
	metadata := map[string]any{
		"resourceVersion": live.GetResourceVersion(),
		"managedFields":   live.GetManagedFields(),
	}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	return json.Marshal(map[string]any{"metadata": metadata})
}

// ownsAnyOf reports whether a manager with the fields other owns a field that desired has
// and that is not in own. Both are decoded FieldsV1; see [OwnsExactly].
func ownsAnyOf(desired any, other, own map[string]any) bool {
	items, _ := desired.([]any)
	index := newListIndex(items)
	for key, below := range other {
		kind, text, _ := strings.Cut(key, ":")
		var value any
		switch desired := desired.(type) {
		case map[string]any:
			if kind == "f" {
				value = desired[text]
			}
		case []any:
			var keys map[string]any
			if kind == "k" && json.Unmarshal([]byte(text), &keys) == nil {
				value = index.withKeys(keys)
			}
		}
		if value == nil {
			continue
		}
		otherBelow, _ := below.(map[string]any)
		ownBelow, owned := own[key].(map[string]any)
		if isLeaf(otherBelow) && !owned || !isLeaf(otherBelow) && ownsAnyOf(value, otherBelow, ownBelow) {
			return true
		}
	}
	return false
}

// ConflictingManager returns the field manager, quoted for messages, that owns a field of
// live which desired has and which fieldManager does not own any more. If there is none, it
// returns the other manager that wrote last; empty if there is no other manager. live must
// have the managedFields of all managers; desired is without apiVersion, kind and name.
func ConflictingManager(desired map[string]any, live *unstructured.Unstructured, fieldManager string) string {
	own := Own(live, fieldManager)
	var found metav1.ManagedFieldsEntry
	foundOwns := false
	for _, entry := range live.GetManagedFields() {
		if entry.Manager == fieldManager || entry.Subresource == "status" || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue
		}
		owns := ownsAnyOf(desired, fields, own)
		later := found.Time == nil || entry.Time != nil && found.Time.Before(entry.Time)
		if owns && !foundOwns || owns == foundOwns && later {
			found, foundOwns = entry, owns
		}
	}
	if found.Subresource != "" {
		return fmt.Sprintf("%q through the subresource %s", found.Manager, found.Subresource)
	}
	if found.Manager == "" {
		return ""
	}
	return fmt.Sprintf("%q", found.Manager)
}
