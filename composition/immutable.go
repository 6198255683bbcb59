package composition

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
)

// MismatchError is a field that the API server does not let anybody change, and that
// differs from what is wanted.
type MismatchError struct {
	// Field is the path, `spec.serviceName`, say.
	Field string
	// Live and Wanted are the values as compact JSON.
	Live, Wanted string
}

// Error says what stands in the way.
func (m *MismatchError) Error() string {
	return fmt.Sprintf("%s cannot be changed: it is %s, wanted is %s", m.Field, m.Live, m.Wanted)
}

var claimTemplates = []string{"spec", "volumeClaimTemplates"}

// immutableFields are those of the kinds that a composition is usually made of.
// Source: the update validation of Kubernetes 1.30 to 1.37.
var immutableFields = map[schema.GroupKind][][]string{
	{Group: "apps", Kind: "StatefulSet"}: {
		selector, {"spec", "serviceName"}, {"spec", "podManagementPolicy"}, claimTemplates,
	},
	{Group: "apps", Kind: "Deployment"}:                       {selector},
	{Group: "apps", Kind: "DaemonSet"}:                        {selector},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}: {{"roleRef"}},
	{Kind: "Service"}:                                         {{"spec", "clusterIP"}},
	{Kind: "Secret"}:                                          {{"type"}},
}

var selector = []string{"spec", "selector"}

// immutableMismatches lists what stands between live and desired. Fields that
// desired does not mention are never in the way.
func immutableMismatches(desired, live *unstructured.Unstructured) []*MismatchError {
	fields := immutableFields[desired.GroupVersionKind().GroupKind()]
	frozen, _, _ := unstructured.NestedBool(live.Object, "immutable")
	if frozen {
		fields = append(slices.Clone(fields), []string{"data"}, []string{"binaryData"})
	}
	if len(fields) == 0 {
		return nil
	}
	var mismatches []*MismatchError
	for _, field := range fields {
		if _, found, _ := unstructured.NestedFieldNoCopy(desired.Object, field...); !found || sameImmutable(field, desired, live) {
			continue
		}
		// Perhaps only written in another way than the API server does.
		if canonical, err := canonicalised(desired, scheme.Scheme); err == nil && sameImmutable(field, canonical, live) {
			continue
		}
		mismatches = append(mismatches, &MismatchError{
			Field: strings.Join(field, "."), Live: compact(immutableValue(field, live)), Wanted: compact(immutableValue(field, desired)),
		})
	}
	return mismatches
}

// sameImmutable tells whether the field is in desired what it is in live. The API
// server defaults fields within claim templates and role references; selectors
// and data it takes as they are.
func sameImmutable(field []string, desired, live *unstructured.Unstructured) bool {
	wanted, actual := immutableValue(field, desired), immutableValue(field, live)
	switch field[len(field)-1] {
	case "selector", "data", "binaryData":
		return equality.Semantic.DeepEqual(wanted, actual)
	}
	_, contained := containedIn(wanted, actual, "")
	return contained && sameLength(wanted, actual)
}

// immutableValue is the field's value, as far as it means something.
func immutableValue(field []string, object *unstructured.Unstructured) any {
	value, _, _ := unstructured.NestedFieldNoCopy(object.Object, field...)
	if slices.Equal(field, claimTemplates) {
		return withoutTypes(value)
	}
	return value
}

// withoutTypes is a list of claim templates less their apiVersion, kind and
// status, which mean nothing there and which the API server does not keep.
func withoutTypes(templates any) any {
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
func keepClaims(desired, live *unstructured.Unstructured) {
	if _, found, _ := unstructured.NestedFieldNoCopy(desired.Object, claimTemplates...); !found {
		return
	}
	if actual, found, _ := unstructured.NestedFieldCopy(live.Object, claimTemplates...); found {
		setField(desired.Object, actual, claimTemplates...)
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
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
