package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// ImmutableFieldError is the error of an immutable field whose live value differs from the
// desired one.
type ImmutableFieldError struct {
	// Field is the path of the first difference, for example `spec.selector.matchLabels.app`.
	Field string
	// Live and Desired are the values there as JSON, truncated; empty for the contents of
	// ConfigMaps and Secrets, which are long or secret.
	Live, Desired string
	// Err is the response of the API server that shows it; nil if it is known without.
	Err error

	// field is the path of the immutable field that has the difference.
	field []string
}

// Error returns a message with the field and its values.
func (m *ImmutableFieldError) Error() string {
	if m.Live == "" && m.Desired == "" {
		return m.Field + " is immutable and keeps its live value"
	}
	return fmt.Sprintf("%s is immutable and keeps its live value %s; the desired value is %s", m.Field, m.Live, m.Desired)
}

// Unwrap returns the response of the API server.
func (m *ImmutableFieldError) Unwrap() error { return m.Err }

// ClaimTemplatesPath is the path of the volume claim templates of a StatefulSet.
var ClaimTemplatesPath = []string{"spec", "volumeClaimTemplates"}

// immutableFields are the immutable fields of common kinds of child objects.
// Source: the update validation of Kubernetes 1.30 to 1.37.
var immutableFields = map[schema.GroupKind][][]string{
	{Group: "apps", Kind: "StatefulSet"}: {
		selector, {"spec", "serviceName"}, {"spec", "podManagementPolicy"}, ClaimTemplatesPath,
	},
	{Group: "apps", Kind: "Deployment"}:                       {selector},
	{Group: "apps", Kind: "DaemonSet"}:                        {selector},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}: {{"roleRef"}},
	{Kind: "Service"}:                                         {{"spec", "clusterIP"}, {"spec", "clusterIPs"}},
	{Kind: "Secret"}:                                          {{"type"}},
}

// frozenFields are the immutable fields of a ConfigMap or Secret with immutable: true.
var frozenFields = [][]string{{"immutable"}, {"data"}, {"binaryData"}}

var selector = []string{"spec", "selector"}

// immutableMismatches returns the immutable fields that differ between desired and live.
// Fields that desired does not have never differ.
func immutableMismatches(desired, live *unstructured.Unstructured) []*ImmutableFieldError {
	fields := immutableFields[desired.GroupVersionKind().GroupKind()]
	if isFrozen(live) {
		fields = slices.Concat(fields, frozenFields)
	}
	if len(fields) == 0 {
		return nil
	}
	var mismatches []*ImmutableFieldError
	for _, field := range fields {
		if _, found, _ := unstructured.NestedFieldNoCopy(desired.Object, field...); !found || immutableEqual(field, desired, live) {
			continue
		}
		// The values may be equal in the form in which the API server returns them.
		if canonical, err := roundTripTyped(desired, scheme.Scheme); err == nil && immutableEqual(field, canonical, live) {
			continue
		}
		mismatch := &ImmutableFieldError{Field: strings.Join(field, "."), field: field}
		if !slices.ContainsFunc(frozenFields, func(frozen []string) bool { return slices.Equal(frozen, field) }) {
			where, is, want := leafDifference(immutableValue(field, live), immutableValue(field, desired), mismatch.Field)
			mismatch.Field, mismatch.Live, mismatch.Desired = where, shortJSON(is), shortJSON(want)
		}
		mismatches = append(mismatches, mismatch)
	}
	return mismatches
}

// isFrozen reports whether live is a ConfigMap or Secret with immutable: true.
func isFrozen(live *unstructured.Unstructured) bool {
	frozen, _, _ := unstructured.NestedBool(live.Object, "immutable")
	return frozen
}

// checkImmutable sets immutable fields that differ to their live values in the step's object,
// so that the rest can be applied, and adds a warning. Claim templates that differ in form
// only, or that could not be expanded, keep their live form; expanded ones change the step to
// Recreate. A field `immutable` that was applied and is not rendered any more is kept as well.
func checkImmutable(options object.Options, step *Step, expansion ExpansionError) {
	if _, found := step.Object.Object["immutable"]; isFrozen(step.Live) && !found && managedfields.Owns(step.Live, options.FieldManager, "immutable") {
		object.SetField(step.Object.Object, true, "immutable")
	}
	mismatches := immutableMismatches(step.Object, step.Live)
	var messages []string
	expanded := false
	for _, mismatch := range mismatches {
		field := mismatch.field
		if slices.Equal(field, ClaimTemplatesPath) && OnlyExpandsStorage(step.Object, step.Live) {
			if expansion.Claims == ClaimTemplatesHash(step.Object) {
				step.Warn(ImmutableFieldChanged, expansion.Message)
			} else {
				expanded = true
			}
			continue
		}
		messages = append(messages, mismatch.Error())
		if value, found, _ := unstructured.NestedFieldCopy(step.Live.Object, field...); found {
			object.SetField(step.Object.Object, value, field...)
		} else {
			object.RemoveField(step.Object.Object, field...)
		}
		if slices.Equal(field, selector) {
			copySelectorLabels(step.Object)
		}
	}
	if len(messages) > 0 {
		step.Warn(ImmutableFieldChanged, ImmutableMessage(step.Ref, messages...))
	}
	if expanded {
		step.Action, step.Reason = Recreate, VolumeExpansion
		return
	}
	copyLiveClaimTemplates(step.Object, step.Live)
}

// ImmutableMessage returns the message for immutable fields of an object, with what to do.
func ImmutableMessage(ref object.Ref, mismatches ...string) string {
	values := "the live value"
	if len(mismatches) > 1 {
		values = "the live values"
	}
	deletion := ""
	if object.IsWorkload(ref.GroupKind()) {
		deletion = ", which also deletes its pods"
	}
	return fmt.Sprintf("%s: %s; restore %s in the configuration, or delete the %s%s; it is then recreated with the desired value",
		ref, strings.Join(mismatches, "; "), values, ref.Kind, deletion)
}

// ClaimTemplatesHash returns the hash of the claim templates of a StatefulSet.
func ClaimTemplatesHash(set *unstructured.Unstructured) object.Hash {
	claims, _, _ := unstructured.NestedFieldNoCopy(set.Object, ClaimTemplatesPath...)
	return object.MemoryHash(claims)
}

// copySelectorLabels adds the labels that a workload's selector matches to its pod template.
func copySelectorLabels(workload *unstructured.Unstructured) {
	matchLabels, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
	for label, value := range matchLabels {
		object.SetField(workload.Object, value, "spec", "template", "metadata", "labels", label)
	}
}

// leafDifference returns the path and the values of the first difference of two values, as
// deep as possible. Fields that only live has are compared last, because the API server may
// have defaulted them.
func leafDifference(live, desired any, path string) (where string, is, want any) {
	switch desired := desired.(type) {
	case map[string]any:
		fields, isMap := live.(map[string]any)
		if !isMap {
			break
		}
		for _, key := range slices.Sorted(maps.Keys(desired)) {
			if _, contained := isSubset(desired[key], fields[key], ""); !contained {
				return leafDifference(fields[key], desired[key], path+"."+key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if _, contained := isSubset(fields[key], desired[key], ""); !contained {
				return leafDifference(fields[key], desired[key], path+"."+key)
			}
		}
	case []any:
		items, _ := live.([]any)
		for i := range min(len(items), len(desired)) {
			if _, contained := isSubset(desired[i], items[i], ""); !contained {
				return leafDifference(items[i], desired[i], fmt.Sprintf("%s[%d]", path, i))
			}
		}
	}
	return path, live, desired
}

// immutableEqual reports whether an immutable field has the same value in desired and live.
// The API server defaults fields in claim templates and role references, but not in selectors
// and data.
func immutableEqual(field []string, desired, live *unstructured.Unstructured) bool {
	want, actual := immutableValue(field, desired), immutableValue(field, live)
	switch field[len(field)-1] {
	case "selector", "data", "binaryData":
		return equality.Semantic.DeepEqual(want, actual)
	}
	_, contained := isSubset(want, actual, "")
	return contained && sameLength(want, actual)
}

// immutableValue returns the value of a field, without parts that have no meaning.
func immutableValue(field []string, obj *unstructured.Unstructured) any {
	value, _, _ := unstructured.NestedFieldNoCopy(obj.Object, field...)
	if slices.Equal(field, ClaimTemplatesPath) {
		return stripTypeMeta(value)
	}
	return value
}

// stripTypeMeta returns a list of claim templates without apiVersion, kind and status, which
// have no meaning there and which the API server does not store.
func stripTypeMeta(templates any) any {
	list, _ := templates.([]any)
	bare := make([]any, len(list))
	for i, template := range list {
		fields, _ := template.(map[string]any)
		claim := maps.Clone(fields)
		for _, key := range []string{"apiVersion", "kind", "status"} {
			delete(claim, key)
		}
		bare[i] = claim
	}
	return bare
}

// copyLiveClaimTemplates sets the claim templates of desired to the live ones, which are
// equivalent, including defaults: the API server compares them as a whole.
func copyLiveClaimTemplates(desired, live *unstructured.Unstructured) {
	if _, found, _ := unstructured.NestedFieldNoCopy(desired.Object, ClaimTemplatesPath...); !found {
		return
	}
	if actual, found, _ := unstructured.NestedFieldCopy(live.Object, ClaimTemplatesPath...); found {
		object.SetField(desired.Object, actual, ClaimTemplatesPath...)
	}
}

// sameLength reports whether two lists have the same length; true if a is not a list.
func sameLength(a, b any) bool {
	left, isList := a.([]any)
	if !isList {
		return true
	}
	right, _ := b.([]any)
	return len(left) == len(right)
}

// shortJSON returns a value as JSON for a message, truncated to 100 bytes.
func shortJSON(value any) string {
	if value == nil {
		return "unset"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	const most = 100
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
