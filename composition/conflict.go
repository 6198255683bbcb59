package composition

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Server-side apply leaves alone what other managers, or the API server's own
// defaults, have put beside our fields. Where both together are invalid, such as
// `value` beside a `valueFrom` that was set by hand, or strategy Recreate beside a
// defaulted rollingUpdate, every apply is rejected for as long as both are there.
//
// The conflicting fields are then removed. Owning them and not sending them any
// more is what removes a field in server-side apply, but they cannot be owned by an
// apply that is itself invalid. So a patch of managedFields, which changes no spec,
// moves them from their managers to us, and the next apply removes them: two
// requests, and one change of the spec.
//
// Which fields conflict is found out before anything is written: candidates are
// those next to the field that the API server rejects, the closest first, and a
// dry-run of the result has to pass. So an apply configuration that is invalid by
// itself removes nothing.

// maxConflictDryRuns bounds the search for the fields that conflict.
const maxConflictDryRuns = 8

// conflict is what has to be removed from a live object for an apply to be valid.
type conflict struct {
	// live was read from the API server, with the managedFields of all managers.
	live *unstructured.Unstructured
	// paths of the fields to remove.
	paths *fieldpath.Set
	// result of the dry-run.
	result *unstructured.Unstructured
}

// RemovedFields are fields of a child that another manager, or the API server's
// defaults, had set, and that were removed because the apply configuration is
// invalid beside them.
type RemovedFields struct {
	Key Key
	// Fields are paths, sorted and bounded: `spec.strategy.rollingUpdate.maxSurge`.
	Fields string
	// Managers owned them, sorted and joined; empty for defaults of the API server.
	Managers string
}

// String describes the fields and who set them.
func (r RemovedFields) String() string {
	by := "defaulted by the API server"
	if r.Managers != "" {
		by = "set by " + r.Managers
	}
	return fmt.Sprintf("%s (%s)", r.Fields, by)
}

// applyWithoutConflicts applies a step that the API server rejects as invalid beside
// what is live, after it has removed what conflicts. If nothing can be found whose
// removal helps, the result has the rejection as its error.
func (e *Engine) applyWithoutConflicts(ctx context.Context, step Step, mark mark, rejection error) result {
	rejected := result{step: step, live: step.Live, err: rejection, invalid: true}
	if mark.invalid.desired == step.desired && mark.invalid.content == contentOf(step.Live, e.Policy.Manager) {
		return rejected
	}
	if err := e.giveUp(ctx, step); err != nil {
		return result{step: step, live: step.Live, err: err}
	}
	found, err := e.findConflict(ctx, step, rejection)
	if err != nil {
		return result{step: step, live: step.Live, err: fmt.Errorf("find the fields that conflict: %w", err)}
	}
	if found == nil {
		return rejected
	}
	if step.HoldRestart {
		if would, is := podTemplate(found.result), podTemplate(step.Live); firstDifference(would, is, "") != "" {
			return result{step: step.hold(RestartRequired, restartMessage(step.Key, would, is)), live: step.Live}
		}
	}
	removed := found.describe(step.Key, e.Policy.Manager)
	if history := mark.removals[removed.String()]; history.wait(e.now()) > 0 {
		return result{step: step.hold(FieldManagerConflict, removalConflict(step.Key, removed.String())), live: step.Live}
	}
	live, cached, err := e.removeAndApply(ctx, step, found)
	if err != nil {
		return result{step: step, live: step.Live, err: err}
	}
	return result{step: step, live: live, cached: cached, wrote: true, removal: removed}
}

// removeAndApply moves the conflicting fields into what we own, and applies the
// step's object, which removes them.
func (e *Engine) removeAndApply(ctx context.Context, step Step, found *conflict) (*unstructured.Unstructured, client.Object, error) {
	var owned *unstructured.Unstructured
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		moved := found.live.DeepCopy()
		if err := moveFields(moved, e.Policy.Manager, found.paths); err != nil {
			return err
		}
		patch, err := metadataPatch(moved, nil, nil)
		if err != nil {
			return err
		}
		if owned, err = e.patchMetadata(ctx, moved, patch); !apierrors.IsConflict(err) {
			return err
		}
		// Its controller has written its status meanwhile, or a user its spec, which the
		// next reconcile reads.
		current, getErr := e.getLive(ctx, step.Key)
		if getErr != nil || current == nil || current.GetUID() != found.live.GetUID() || current.GetGeneration() != found.live.GetGeneration() {
			return cmp.Or(getErr, fmt.Errorf("%s has changed meanwhile: %w", step.Key, err))
		}
		found.live = current
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("own the fields that conflict: %w", err)
	}
	live, cached, err := e.apply(ctx, step)
	if err == nil {
		return live, cached, nil
	}
	// It would have passed a moment ago. The fields are not ours to keep.
	found.live.SetResourceVersion(owned.GetResourceVersion())
	patch, restoreErr := metadataPatch(found.live, nil, nil)
	if restoreErr == nil {
		_, restoreErr = e.patchMetadata(ctx, found.live, patch)
	}
	return nil, nil, errors.Join(err, restoreErr)
}

// moveFields moves paths into the entry that manager owns by server-side apply, and
// out of all other entries of live.
func moveFields(live *unstructured.Unstructured, manager string, paths *fieldpath.Set) error {
	entries := live.GetManagedFields()
	for i := range entries {
		owned, err := decodeFields(entries[i])
		if err != nil {
			return err
		}
		if isApplied(entries[i], manager) {
			owned = owned.Union(paths)
		} else {
			owned = owned.Difference(paths)
		}
		raw, err := owned.ToJSON()
		if err != nil {
			return fmt.Errorf("write field ownership: %w", err)
		}
		entries[i].FieldsV1 = metav1.NewFieldsV1(string(raw))
	}
	live.SetManagedFields(slices.DeleteFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.FieldsV1.GetRawString() == "{}"
	}))
	return nil
}

func decodeFields(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	fields := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return fields, nil
	}
	if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
		return nil, fmt.Errorf("read field ownership: %w", err)
	}
	return fields, nil
}

// findConflict searches for the fields without which the step's object is valid
// beside what is live; nil if there are none, or the live object is another by now.
func (e *Engine) findConflict(ctx context.Context, step Step, rejection error) (*conflict, error) {
	// Not from the cache, which trims managedFields.
	live, err := e.getLive(ctx, step.Key)
	if err != nil || live == nil || live.GetUID() != step.uid() || appliedFields(live, e.Policy.Manager) == nil {
		return nil, err
	}
	search, err := newConflictSearch(live, step.Object, e.Policy.Manager, e.typeConverter())
	if err != nil {
		return nil, err
	}
	for range maxConflictDryRuns {
		if !search.widen(rejection) {
			return nil, nil
		}
		result, err := e.dryRunResult(ctx, live, search.merged)
		if err == nil {
			return &conflict{live: live, paths: search.removed, result: result}, nil
		}
		if !apierrors.IsInvalid(err) {
			return nil, err
		}
		rejection = err
	}
	return nil, nil
}

// dryRunResult asks the API server whether live may become merged.
func (e *Engine) dryRunResult(ctx context.Context, live *unstructured.Unstructured, merged *typed.TypedValue) (*unstructured.Unstructured, error) {
	before, err := json.Marshal(live.Object)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(merged.AsValue().Unstructured())
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, err
	}
	result := live.DeepCopy()
	err = e.Client.Patch(ctx, result, client.RawPatch(types.MergePatchType, patch), client.DryRunAll, client.FieldOwner(e.Policy.Manager))
	return result, err
}

// conflictSearch computes what an apply makes of a live object once some of its
// fields are removed, by the API server's own implementation of server-side apply,
// and which fields to try next.
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
	// tried is how far the search has gone from a rejected field.
	tried map[string]int
	// removed are the fields that are gone in merged, which is what the apply makes of
	// live.
	removed *fieldpath.Set
	merged  *typed.TypedValue
}

// sameVersion is a converter of objects that all have one version.
type sameVersion struct{}

func (sameVersion) Convert(object *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return object, nil
}
func (sameVersion) IsMissingVersionError(error) bool { return false }

func newConflictSearch(live, desired *unstructured.Unstructured, manager string, converter managedfields.TypeConverter) (*conflictSearch, error) {
	liveTyped, err := converter.ObjectToTyped(live, typed.AllowDuplicates)
	if err != nil {
		converter = managedfields.NewDeducedTypeConverter()
		if liveTyped, err = converter.ObjectToTyped(live, typed.AllowDuplicates); err != nil {
			return nil, fmt.Errorf("read %s: %w", KeyOf(live), err)
		}
	}
	desiredTyped, err := converter.ObjectToTyped(desired)
	if err != nil {
		return nil, fmt.Errorf("read the apply configuration of %s: %w", KeyOf(live), err)
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
		if !isApplied(entry, manager) {
			name = string(entry.Operation) + " " + name
		}
		search.managers[name] = fieldpath.NewVersionedSet(owned, search.version, entry.Operation == metav1.ManagedFieldsOperationApply)
	}
	search.present = removable(present.Difference(search.rendered).Difference(subresources), search.rendered)
	return search, search.merge()
}

// removable leaves out of fields those that are never removed: metadata and status,
// replicas, which autoscalers set, the addresses of a Service, and node ports unless
// the whole port is removed.
func removable(fields, rendered *fieldpath.Set) *fieldpath.Set {
	kept := fieldpath.NewSet()
	for path := range fields.All() {
		root := fieldName(path, 0)
		below := fieldName(path, 1)
		switch {
		case root == "" || slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, root):
		case root == "spec" && slices.Contains([]string{"replicas", "clusterIP", "clusterIPs"}, below):
		case fieldName(path, len(path)-1) == "nodePort" && len(foreignItem(path, rendered)) == 0:
		default:
			kept.Insert(slices.Clone(path))
		}
	}
	return kept
}

// fieldName is the name of the field at a place of a path; empty for a list item.
func fieldName(path fieldpath.Path, at int) string {
	if at < 0 || at >= len(path) || path[at].FieldName == nil {
		return ""
	}
	return *path[at].FieldName
}

// foreignItem is the path of the outermost list item on path that is not rendered;
// nil if there is none.
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

// widen adds to removed the fields closest to those that a rejection names. It
// reports whether there were any.
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

// causesOf lists the fields that a rejection names, each once.
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

// Levels of candidates, from the rejected field outwards.
const (
	atField        = iota // the field itself and what is below it
	besideField           // its siblings, which may be other members of a union
	besideParent          // those of the field that encloses it
	foreignSibling        // items of the same list that are not rendered
	lastLevel      = foreignSibling
)

// candidates of a level for a rejected field. Whole items that are not rendered are
// candidates only where the field is one of theirs, and at the last level.
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
		// Of the items that are rendered, nothing more.
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

// isRoot reports whether a path is so far out that what is below it is unrelated.
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

// locate turns the path of a rejection, such as spec.ports[1].name, whose indexes
// are those of the merged object, into one of field ownership. It ends where the
// two do not fit.
func (s *conflictSearch) locate(field string) fieldpath.Path {
	fields, err := s.merged.ToFieldSet()
	if err != nil {
		return nil
	}
	var path fieldpath.Path
	value := s.merged.AsValue().Unstructured()
	for name := range strings.SplitSeq(field, ".") {
		name, brackets, _ := strings.Cut(name, "[")
		object, _ := value.(map[string]any)
		if _, found := object[name]; !found {
			// Some of the API server's paths have the name of the Go field
			// (pkg/apis/core/validation, LoadBalancerSourceRanges).
			for key := range object {
				if strings.EqualFold(key, name) {
					name = key
				}
			}
		}
		path = append(path, fieldpath.PathElement{FieldName: &name})
		fields = fields.WithPrefix(path[len(path)-1])
		value = object[name]
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

// elementOf finds the path element that stands for a list item.
func elementOf(item any, fields *fieldpath.Set) (fieldpath.PathElement, bool) {
	var found fieldpath.PathElement
	matched := false
	check := func(element fieldpath.PathElement) {
		switch {
		case element.Key != nil:
			object, isObject := item.(map[string]any)
			matches := isObject
			for _, key := range *element.Key {
				// A key that the item leaves out is defaulted, as a port's protocol is.
				value, given := object[key.Name]
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

// describe says which fields are removed, and whose they were.
func (c *conflict) describe(key Key, manager string) RemovedFields {
	var fields []string
	for path := range c.paths.Leaves().All() {
		fields = append(fields, strings.TrimPrefix(path.String(), "."))
	}
	managers := sets.New[string]()
	for _, entry := range c.live.GetManagedFields() {
		if isApplied(entry, manager) {
			continue
		}
		if owned, err := decodeFields(entry); err == nil && !owned.Intersection(c.paths).Empty() {
			managers.Insert(entry.Manager)
		}
	}
	return RemovedFields{Key: key, Fields: bounded(fields, 3), Managers: strings.Join(sets.List(managers), ", ")}
}

// bounded joins the first of sorted texts, and says how many are left out.
func bounded(texts []string, most int) string {
	slices.Sort(texts)
	if len(texts) > most {
		texts = append(slices.Clone(texts[:most]), fmt.Sprintf("%d more", len(texts)-most))
	}
	return strings.Join(texts, ", ")
}

// removalConflict is the message of a removal that waits.
func removalConflict(key Key, removed string) string {
	return fmt.Sprintf("%s: %s is set again and again, and the desired state is invalid beside it; it is removed at most once a minute until that stops",
		key, removed)
}
