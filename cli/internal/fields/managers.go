package fields

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Manager is an entry of an object's managedFields.
type Manager struct {
	Name string `json:"name"`
	// Operation is Apply or Update.
	Operation   string `json:"operation"`
	Subresource string `json:"subresource,omitempty"`
	// Time of the last change of any of the manager's fields; nil if unknown.
	Time *time.Time `json:"time,omitempty"`
}

// Ownership is which managers own the fields of an object.
type Ownership struct {
	// byField has the managers of a field or of an atomic map or list, by its steps.
	byField map[string][]Manager
}

// OwnershipOf reads the managedFields of an object.
func OwnershipOf(object *unstructured.Unstructured) (*Ownership, error) {
	o := &Ownership{byField: map[string][]Manager{}}
	for _, entry := range object.GetManagedFields() {
		if entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("managedFields of %s: %w", entry.Manager, err)
		}
		manager := Manager{Name: entry.Manager, Operation: string(entry.Operation), Subresource: entry.Subresource}
		if entry.Time != nil {
			manager.Time = &entry.Time.Time
		}
		set.Leaves().Iterate(func(path fieldpath.Path) {
			if steps, found := stepsOf(object.Object, path); found {
				key := keyOf(steps)
				o.byField[key] = append(o.byField[key], manager)
			}
		})
	}
	for _, managers := range o.byField {
		slices.SortFunc(managers, func(a, b Manager) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Subresource, b.Subresource))
		})
	}
	return o, nil
}

// Of returns the managers of the field that steps lead to, see [Find]: those of the field, of
// an atomic map or list that contains it, or of the fields below it.
func (o *Ownership) Of(steps []any) []Manager {
	for length := len(steps); length > 0; length-- {
		if managers := o.byField[keyOf(steps[:length])]; len(managers) > 0 {
			return managers
		}
	}
	var below []Manager
	prefix := keyOf(steps)
	for key, managers := range o.byField {
		if strings.HasPrefix(key, prefix) {
			below = append(below, managers...)
		}
	}
	slices.SortFunc(below, func(a, b Manager) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Subresource, b.Subresource))
	})
	return slices.CompactFunc(below, func(a, b Manager) bool {
		return a.Name == b.Name && a.Operation == b.Operation && a.Subresource == b.Subresource
	})
}

// String returns the name and the operation.
func (m Manager) String() string {
	text := m.Name + " (" + m.Operation
	if m.Subresource != "" {
		text += " of " + m.Subresource
	}
	return text + ")"
}

// IsApply reports whether the manager is one of server-side apply with that name.
func (m Manager) IsApply(name string) bool {
	return m.Name == name && m.Operation == string(metav1.ManagedFieldsOperationApply)
}

// keyOf returns an identity of steps that ends with a separator.
func keyOf(steps []any) string {
	text := &strings.Builder{}
	for _, step := range steps {
		fmt.Fprintf(text, "%v\x00", step)
	}
	return text.String()
}

// stepsOf returns the steps that a path of managedFields leads to.
func stepsOf(object any, path fieldpath.Path) (steps []any, found bool) {
	for _, element := range path {
		switch {
		case element.FieldName != nil:
			fields, is := object.(map[string]any)
			if object, found = fields[*element.FieldName]; !is || !found {
				return nil, false
			}
			steps = append(steps, *element.FieldName)
			continue
		case element.Index != nil:
			items, is := object.([]any)
			if !is || *element.Index >= len(items) {
				return nil, false
			}
			object = items[*element.Index]
			steps = append(steps, *element.Index)
			continue
		}
		items, _ := object.([]any)
		index := slices.IndexFunc(items, func(item any) bool { return isElement(item, element) })
		if index < 0 {
			return nil, false
		}
		object = items[index]
		steps = append(steps, index)
	}
	return steps, len(steps) > 0
}

// isElement reports whether an item of a list is the one that an element names by key or
// value.
func isElement(item any, element fieldpath.PathElement) bool {
	if element.Value != nil {
		return value.Equals(value.NewValueInterface(item), *element.Value)
	}
	fields, is := item.(map[string]any)
	if !is || element.Key == nil {
		return false
	}
	for _, key := range *element.Key {
		got, set := fields[key.Name]
		if !set && key.Name == "protocol" {
			got = "TCP"
		}
		if !value.Equals(value.NewValueInterface(got), key.Value) {
			return false
		}
	}
	return true
}
