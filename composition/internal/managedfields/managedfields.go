package managedfields

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// TrimManagedFields drops every managedFields entry of object that is not
// manager's. Caches use it as a transform: the entries of others are most of an
// object's size and nothing here reads them.
func Trim(object metav1.Object, manager string) {
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == manager {
			kept = append(kept, entry)
		}
	}
	object.SetManagedFields(kept)
}

// isApplied tells the entry of what manager owns by server-side apply.
func IsOwnEntry(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply &&
		entry.Subresource == "" && entry.FieldsV1 != nil
}

// appliedFields is the decoded FieldsV1 of what manager owns of object by
// server-side apply; nil if it has applied nothing. It is part of object and not
// to be changed: GetManagedFields would encode and decode it again.
func Own(object *unstructured.Unstructured, manager string) map[string]any {
	metadata, _ := object.Object["metadata"].(map[string]any)
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

// ownedContent is appliedFields less the owner references. Caches do not keep the
// UID in these; their content is compared without it.
func OwnWithoutOwnerRefs(object *unstructured.Unstructured, manager string) map[string]any {
	fields := Own(object, manager)
	metadata, found := fields["f:metadata"].(map[string]any)
	if !found {
		return fields
	}
	fields, metadata = maps.Clone(fields), maps.Clone(metadata)
	delete(metadata, "f:ownerReferences")
	fields["f:metadata"] = metadata
	return fields
}

// owns tells whether manager's last apply to live had the field.
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

// giveUp removes fields from what manager owns of live by server-side apply, so
// that the next apply, which does not send them, leaves their live values alone.
// It changes live's managedFields and tells whether there was anything to do.
func Release(live *unstructured.Unstructured, manager string, paths [][]string) (bool, error) {
	return UpdateOwnEntry(live, manager, func(owned *fieldpath.Set) *fieldpath.Set {
		dropped := fieldpath.NewSet()
		for _, path := range paths {
			dropped.Insert(Path(path))
		}
		return owned.RecursiveDifference(dropped)
	})
}

// editApplied changes what manager owns of live by server-side apply, and tells
// whether that made a difference. There has to be such an entry.
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

func Path(names []string) fieldpath.Path {
	path := make(fieldpath.Path, len(names))
	for i := range names {
		path[i] = fieldpath.PathElement{FieldName: &names[i]}
	}
	return path
}

// metadataPatch is a merge patch that writes the managedFields of live, and
// labels and annotations besides, provided that live has not changed since it
// was read.
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

// tookFrom tells whether theirs owns a field that desired holds and ours does not
// own. See sameFields for what theirs and ours are.
func ownsAnyOf(desired any, theirs, ours map[string]any) bool {
	items, _ := desired.([]any)
	known := newListIndex(items)
	for key, below := range theirs {
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
				value = known.withKeys(keys)
			}
		}
		if value == nil {
			continue
		}
		theirs, _ := below.(map[string]any)
		ours, owned := ours[key].(map[string]any)
		if IsLeaf(theirs) && !owned || !IsLeaf(theirs) && ownsAnyOf(value, theirs, ours) {
			return true
		}
	}
	return false
}

// ConflictingManager returns the field manager, quoted for messages, that owns a field of
// live which desired has and which fieldManager does not own any more, or, if there is
// none, the other manager that wrote last. It is empty if there is no other manager. live
// must have the managedFields of all managers; desired is without apiVersion, kind and name.
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
