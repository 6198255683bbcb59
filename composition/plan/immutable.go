package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
)

// MismatchError is a field that the API server does not let anybody change, and that
// differs from what is desired.
type ImmutableFieldError struct {
	// Field is the path of the first difference, `spec.selector.matchLabels.app`, say.
	Field string
	// Live and Wanted are the values there as compact JSON, shortened; empty for the
	// contents of ConfigMaps and Secrets, which are long, or secret.
	Live, Desired string

	// field is the immutable field that the difference is in.
	field []string
}

// Error names the field and its values.
func (m *ImmutableFieldError) Error() string {
	if m.Live == "" && m.Desired == "" {
		return m.Field + " is immutable and keeps its live value"
	}
	return fmt.Sprintf("%s is immutable and keeps its live value %s; desired is %s", m.Field, m.Live, m.Desired)
}

var ClaimTemplatesPath = []string{"spec", "volumeClaimTemplates"}

// immutableFields are those of the kinds that a composition is usually made of.
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

// frozenFields are those of a ConfigMap or Secret that is marked as immutable.
var frozenFields = [][]string{{"immutable"}, {"data"}, {"binaryData"}}

var selector = []string{"spec", "selector"}

// immutableMismatches lists what stands between live and desired. Fields that
// desired does not mention are never in the way.
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
		// Perhaps only written in another way than the API server does.
		if canonical, err := roundTripTyped(desired, scheme.Scheme); err == nil && immutableEqual(field, canonical, live) {
			continue
		}
		mismatch := &ImmutableFieldError{Field: strings.Join(field, "."), field: field}
		if !slices.ContainsFunc(frozenFields, func(frozen []string) bool { return slices.Equal(frozen, field) }) {
			where, is, wanted := leafDifference(immutableValue(field, live), immutableValue(field, desired), mismatch.Field)
			mismatch.Field, mismatch.Live, mismatch.Desired = where, compact(is), compact(wanted)
		}
		mismatches = append(mismatches, mismatch)
	}
	return mismatches
}

// isFrozen reports whether a ConfigMap or Secret is marked as immutable.
func isFrozen(live *unstructured.Unstructured) bool {
	frozen, _, _ := unstructured.NestedBool(live.Object, "immutable")
	return frozen
}

// keepImmutable writes the live values of immutable fields that differ into the
// step's object, so that the rest can be applied, and warns of them. Claims that
// only look different keep their live form, as do those that could not grow; claims
// that grow turn the step into Recreate. An `immutable` that was applied and is no
// longer rendered stays as well.
func checkImmutable(options object.Options, step *Step, expansion ExpansionError) {
	if _, found := step.Object.Object["immutable"]; isFrozen(step.Live) && !found && managedfields.Owns(step.Live, options.FieldManager, "immutable") {
		object.SetField(step.Object.Object, true, "immutable")
	}
	mismatches := immutableMismatches(step.Object, step.Live)
	var messages []string
	grown := false
	for _, mismatch := range mismatches {
		field := mismatch.field
		if slices.Equal(field, ClaimTemplatesPath) && OnlyExpandsStorage(step.Object, step.Live) {
			if expansion.Claims == ClaimTemplatesHash(step.Object) {
				step.Warn(ImmutableFieldChanged, expansion.Message)
			} else {
				grown = true
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
			keepSelected(step.Object)
		}
	}
	if len(messages) > 0 {
		step.Warn(ImmutableFieldChanged, ImmutableMessage(step.Ref, messages...))
	}
	if grown {
		step.Action, step.Reason = Recreate, VolumeExpansion
		return
	}
	copyLiveClaimTemplates(step.Object, step.Live)
}

// immutableMessage says which fields of a child are immutable, and what to do.
func ImmutableMessage(key object.Ref, mismatches ...string) string {
	deletion := ""
	if object.IsWorkload(key.GroupKind()) {
		deletion = ", which deletes its pods,"
	}
	return fmt.Sprintf("%s: %s; set the desired value back, or delete the %s%s to have it created as desired",
		key, strings.Join(mismatches, "; "), key.Kind, deletion)
}

// claimsDigest identifies the claim templates of a StatefulSet.
func ClaimTemplatesHash(set *unstructured.Unstructured) object.Hash {
	claims, _, _ := unstructured.NestedFieldNoCopy(set.Object, ClaimTemplatesPath...)
	return object.MemoryHash(claims)
}

// keepSelected gives a pod template the labels that its workload's selector needs.
func keepSelected(workload *unstructured.Unstructured) {
	wanted, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
	for label, value := range wanted {
		object.SetField(workload.Object, value, "spec", "template", "metadata", "labels", label)
	}
}

// leafDifference follows the first difference of two values as far down as it
// goes. What only live has counts last: the API server may have defaulted it.
func leafDifference(live, desired any, path string) (where string, is, wanted any) {
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

// sameImmutable tells whether the field is in desired what it is in live. The API
// server defaults fields within claim templates and role references; selectors
// and data it takes as they are.
func immutableEqual(field []string, desired, live *unstructured.Unstructured) bool {
	wanted, actual := immutableValue(field, desired), immutableValue(field, live)
	switch field[len(field)-1] {
	case "selector", "data", "binaryData":
		return equality.Semantic.DeepEqual(wanted, actual)
	}
	_, contained := isSubset(wanted, actual, "")
	return contained && sameLength(wanted, actual)
}

// immutableValue is the field's value, as far as it means something.
func immutableValue(field []string, obj *unstructured.Unstructured) any {
	value, _, _ := unstructured.NestedFieldNoCopy(obj.Object, field...)
	if slices.Equal(field, ClaimTemplatesPath) {
		return stripTypeMeta(value)
	}
	return value
}

// withoutTypes is a list of claim templates less their apiVersion, kind and
// status, which mean nothing there and which the API server does not keep.
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

// keepClaims writes the live claim templates, which are equal in meaning, into
// desired, defaults and all: the API server compares them as one.
func copyLiveClaimTemplates(desired, live *unstructured.Unstructured) {
	if _, found, _ := unstructured.NestedFieldNoCopy(desired.Object, ClaimTemplatesPath...); !found {
		return
	}
	if actual, found, _ := unstructured.NestedFieldCopy(live.Object, ClaimTemplatesPath...); found {
		object.SetField(desired.Object, actual, ClaimTemplatesPath...)
	}
}

// sameLength holds for lists of one length, and for anything else.
func sameLength(a, b any) bool {
	left, isList := a.([]any)
	if !isList {
		return true
	}
	right, _ := b.([]any)
	return len(left) == len(right)
}

// compact writes a value for a message, shortened where it is long.
func compact(value any) string {
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
