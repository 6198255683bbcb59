package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	smdmanagedfields "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// conflictSearch computes the result of an apply to a live object without some of its fields,
// by the API server's own implementation of server-side apply, and the fields to remove next.
type conflictSearch struct {
	manager       string
	version       fieldpath.APIVersion
	live, desired *typed.TypedValue
	managers      fieldpath.ManagedFields
	updater       *merge.Updater
	// present are the fields of live that are not desired and may be removed.
	present *fieldpath.Set
	// rendered are the fields of desired, list items included.
	rendered *fieldpath.Set
	// tried has the next level of candidates for each rejected field.
	tried map[string]int
	// removed are the fields without which merged is computed. merged is the result of the
	// apply.
	removed *fieldpath.Set
	merged  *typed.TypedValue
}

// sameVersion is a converter for objects of one version.
type sameVersion struct{}

func (sameVersion) Convert(obj *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return obj, nil
}
func (sameVersion) IsMissingVersionError(error) bool { return false }

// newConflictSearch parses live and desired by the schema of their kind. For kinds that
// converter does not know the schema is deduced from the content. In it all lists are atomic,
// so that no field in a list is a candidate.
func newConflictSearch(live, desired *unstructured.Unstructured, manager string, converter smdmanagedfields.TypeConverter) (*conflictSearch, error) {
	liveTyped, err := converter.ObjectToTyped(live, typed.AllowDuplicates)
	deduced := err != nil
	if deduced {
		converter = smdmanagedfields.NewDeducedTypeConverter()
		if liveTyped, err = converter.ObjectToTyped(live, typed.AllowDuplicates); err != nil {
			return nil, fmt.Errorf("read %s: %w", object.RefOf(live), err)
		}
	}
	desiredTyped, err := converter.ObjectToTyped(desired)
	if err != nil {
		return nil, fmt.Errorf("read the apply configuration of %s: %w", object.RefOf(live), err)
	}
	search := &conflictSearch{
		manager: manager, version: fieldpath.APIVersion(live.GetAPIVersion()), live: liveTyped, desired: desiredTyped,
		managers: fieldpath.ManagedFields{}, tried: map[string]int{}, removed: fieldpath.NewSet(),
		updater: (&merge.UpdaterBuilder{Converter: sameVersion{}, ReturnInputOnNoop: true}).BuildUpdater(),
	}
	if search.rendered, err = desiredTyped.ToFieldSet(); err != nil {
		return nil, err
	}
	present, err := liveTyped.ToFieldSet()
	if err != nil {
		return nil, err
	}
	subresources := fieldpath.NewSet()
	for _, entry := range live.GetManagedFields() {
		owned, err := decodeFields(entry)
		if err != nil {
			return nil, err
		}
		if entry.Subresource != "" {
			subresources = subresources.Union(owned)
			continue
		}
		present = present.Union(owned)
		name := entry.Manager
		if !managedfields.IsOwnEntry(entry, manager) {
			name = string(entry.Operation) + " " + name
		}
		search.managers[name] = fieldpath.NewVersionedSet(owned, search.version, entry.Operation == metav1.ManagedFieldsOperationApply)
	}
	search.present = removable(present.Difference(search.rendered).Difference(subresources), search.rendered)
	if deduced {
		search.present = withoutLists(search.present, live)
	}
	return search, search.merge()
}

// removable returns fields without those that are never removed: metadata, status, replicas,
// which autoscalers set, the addresses of a Service, and node ports unless the whole port is
// removed.
func removable(fields, rendered *fieldpath.Set) *fieldpath.Set {
	kept := fieldpath.NewSet()
	for path := range fields.All() {
		root := fieldName(path, 0)
		below := fieldName(path, 1)
		switch {
		case root == "" || slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, root):
		case root == "spec" && slices.Contains([]string{"replicas", "clusterIP", "clusterIPs"}, below):
		case isKeyField(path) && len(foreignItem(path, rendered)) == 0:
		case fieldName(path, len(path)-1) == "nodePort" && len(foreignItem(path, rendered)) == 0:
		default:
			kept.Insert(slices.Clone(path))
		}
	}
	return kept
}

// withoutLists returns fields without the lists of live and their content.
func withoutLists(fields *fieldpath.Set, live *unstructured.Unstructured) *fieldpath.Set {
	kept := fieldpath.NewSet()
	for path := range fields.All() {
		names := make([]string, len(path))
		for i := range path {
			names[i] = fieldName(path, i)
		}
		value, _, _ := unstructured.NestedFieldNoCopy(live.Object, names...)
		if _, isList := value.([]any); !isList && !slices.Contains(names, "") {
			kept.Insert(slices.Clone(path))
		}
	}
	return kept
}

// fieldName returns the name of the field at an index of a path; empty for a list item.
func fieldName(path fieldpath.Path, at int) string {
	if at < 0 || at >= len(path) || path[at].FieldName == nil {
		return ""
	}
	return *path[at].FieldName
}

// isKeyField reports whether a path is that of a key of its list item, such as the protocol of
// a port.
func isKeyField(path fieldpath.Path) bool {
	if len(path) < 2 || path[len(path)-2].Key == nil {
		return false
	}
	return slices.ContainsFunc(*path[len(path)-2].Key, func(key value.Field) bool { return key.Name == fieldName(path, len(path)-1) })
}

// foreignItem returns the path of the outermost list item on path that is not rendered; nil if
// there is none.
func foreignItem(path fieldpath.Path, rendered *fieldpath.Set) fieldpath.Path {
	for i, element := range path {
		if element.FieldName == nil && !rendered.Has(path[:i+1]) {
			return path[:i+1]
		}
	}
	return nil
}

// merge computes merged from live, desired and removed.
func (s *conflictSearch) merge() error {
	managers := fieldpath.ManagedFields{}
	for name, owned := range s.managers {
		fields := owned.Set().Difference(s.removed)
		if name == s.manager {
			fields = owned.Set().Union(s.removed)
		}
		managers[name] = fieldpath.NewVersionedSet(fields, owned.APIVersion(), owned.Applied())
	}
	merged, _, err := s.updater.Apply(s.live, s.desired, s.version, managers, s.manager, true)
	if err != nil {
		return err
	}
	s.merged = merged
	return nil
}

// widen adds to removed the closest fields to those that a rejection names. It reports whether
// there were any.
func (s *conflictSearch) widen(rejection error) bool {
	added := fieldpath.NewSet()
	for _, cause := range causesOf(rejection) {
		path := s.locate(cause)
		for level := s.tried[cause]; level <= lastLevel; level++ {
			s.tried[cause] = level + 1
			if more := s.candidates(path, level).Difference(s.removed); !more.Empty() {
				added = added.Union(more)
				break
			}
		}
	}
	if added.Empty() {
		return false
	}
	s.removed = s.removed.Union(added)
	return s.merge() == nil
}

// causesOf returns the fields that a rejection names, sorted and without duplicates.
func causesOf(rejection error) []string {
	var status apierrors.APIStatus
	if !errors.As(rejection, &status) || status.Status().Details == nil {
		return nil
	}
	fields := sets.New[string]()
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "" {
			fields.Insert(cause.Field)
		}
	}
	return sets.List(fields)
}

// Levels of candidates, from the rejected field to the fields around it.
const (
	atField        = iota // the field and the fields in it
	besideField           // its siblings, which may be other members of a union
	besideParent          // the siblings of its parent
	foreignSibling        // items of the same list that are not rendered
	lastLevel      = foreignSibling
)

// candidates returns the fields to remove at a level for a rejected field. Whole items that are
// not rendered are candidates only if the field is in one of them, and at the last level.
func (s *conflictSearch) candidates(path fieldpath.Path, level int) *fieldpath.Set {
	found := fieldpath.NewSet()
	under, items := path, false
	if item := foreignItem(path, s.rendered); item != nil {
		under, items = item, true
	} else if level == foreignSibling {
		for len(under) > 0 && under[len(under)-1].FieldName != nil {
			under = under[:len(under)-1]
		}
		if len(under) > 0 {
			under = under[:len(under)-1]
		}
		items = true
	} else {
		under = path[:max(0, len(path)-level)]
	}
	if isRoot(under) {
		return found
	}
	for candidate := range s.present.All() {
		if hasPrefix(candidate, under) && (items || foreignItem(candidate, s.rendered) == nil) {
			found.Insert(slices.Clone(candidate))
		}
	}
	if level == foreignSibling {
		// Rendered items have been candidates at the levels before.
		rest := fieldpath.NewSet()
		for candidate := range found.All() {
			if foreignItem(candidate, s.rendered) != nil {
				rest.Insert(slices.Clone(candidate))
			}
		}
		return rest
	}
	return found
}

// isRoot reports whether the fields at a path are unrelated: the specs of an object and its pods.
func isRoot(path fieldpath.Path) bool {
	names := []string{"spec", "template", "spec"}
	for i := range path {
		if i >= len(names) || fieldName(path, i) != names[i] {
			return false
		}
	}
	return true
}

func hasPrefix(path, prefix fieldpath.Path) bool {
	return len(path) >= len(prefix) && path[:len(prefix)].Equals(prefix)
}

// locate converts the path of a rejection, such as spec.ports[1].name, whose indexes are those
// of the merged object, to a path of field ownership. The result ends at the first part that
// does not exist there.
func (s *conflictSearch) locate(field string) fieldpath.Path {
	fields, err := s.merged.ToFieldSet()
	if err != nil {
		return nil
	}
	var path fieldpath.Path
	value := s.merged.AsValue().Unstructured()
	for name := range strings.SplitSeq(field, ".") {
		name, brackets, _ := strings.Cut(name, "[")
		obj, _ := value.(map[string]any)
		if _, found := obj[name]; !found {
			// Some of the API server's paths have the name of the Go field
			// (pkg/apis/core/validation, LoadBalancerSourceRanges).
			for key := range obj {
				if strings.EqualFold(key, name) {
					name = key
				}
			}
		}
		path = append(path, fieldpath.PathElement{FieldName: &name})
		fields = fields.WithPrefix(path[len(path)-1])
		value = obj[name]
		for text := range strings.SplitSeq(strings.TrimSuffix(brackets, "]"), "][") {
			var index int
			items, _ := value.([]any)
			if n, err := fmt.Sscanf(text, "%d", &index); n != 1 || err != nil || index < 0 || index >= len(items) {
				break
			}
			element, found := elementOf(items[index], fields)
			if !found {
				return path // an atomic list
			}
			path = append(path, element)
			fields = fields.WithPrefix(element)
			value = items[index]
		}
	}
	return path
}

// elementOf returns the path element of a list item.
func elementOf(item any, fields *fieldpath.Set) (fieldpath.PathElement, bool) {
	var found fieldpath.PathElement
	matched := false
	check := func(element fieldpath.PathElement) {
		switch {
		case element.Key != nil:
			obj, isObject := item.(map[string]any)
			matches := isObject
			for _, key := range *element.Key {
				// A key that the item does not have is defaulted, like the protocol of a port.
				value, given := obj[key.Name]
				matches = matches && (!given || fmt.Sprint(value) == fmt.Sprint(key.Value.Unstructured()))
			}
			if matches {
				found, matched = element, true
			}
		case element.Value != nil:
			if fmt.Sprint(item) == fmt.Sprint((*element.Value).Unstructured()) {
				found, matched = element, true
			}
		}
	}
	fields.Members.Iterate(check)
	fields.Children.Iterate(check)
	return found, matched
}
