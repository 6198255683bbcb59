package merge

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// unionFields has the types of which at most one field may be set. The value lists the members
// if not all fields are members. In the API types this is only in comments.
var unionFields = map[reflect.Type][]string{
	reflect.TypeFor[corev1.VolumeSource]():              nil,
	reflect.TypeFor[corev1.PersistentVolumeSource]():    nil,
	reflect.TypeFor[corev1.ProbeHandler]():              nil,
	reflect.TypeFor[corev1.LifecycleHandler]():          nil,
	reflect.TypeFor[corev1.EnvVar]():                    {"value", "valueFrom"},
	reflect.TypeFor[corev1.EnvVarSource]():              nil,
	reflect.TypeFor[corev1.EnvFromSource]():             {"configMapRef", "secretRef"},
	reflect.TypeFor[corev1.VolumeProjection]():          nil,
	reflect.TypeFor[corev1.PodResourceClaim]():          {"resourceClaimName", "resourceClaimTemplateName"},
	reflect.TypeFor[networkingv1.IngressBackend]():      nil,
	reflect.TypeFor[policyv1.PodDisruptionBudgetSpec](): {"minAvailable", "maxUnavailable"},
}

// unionsOf returns the unions among the fields that a struct type itself declares. own has
// the names of these fields.
func unionsOf(t reflect.Type, own []string) [][]string {
	fields, ok := unionFields[t]
	switch {
	case !ok:
		return nil
	case fields == nil:
		return [][]string{own}
	default:
		return [][]string{fields}
	}
}

// discriminatedUnion is a union whose type field selects the member. Those of the API have
// only one member with fields.
type discriminatedUnion struct {
	member string // the name of the field
	value  string // the type that selects it
}

// discriminatedUnionOf recognises such a union by its fields, because update strategies and
// security profiles have separate types in each API group and version.
func discriminatedUnionOf(object *schemaType) *discriminatedUnion {
	if object.fields["type"] == nil || len(object.fields) != 2 {
		return nil
	}
	for _, union := range []discriminatedUnion{
		{member: "rollingUpdate", value: "RollingUpdate"},
		{member: "localhostProfile", value: "Localhost"},
	} {
		if object.fields[union.member] != nil {
			return &union
		}
	}
	return nil
}

// unionMembersToClear returns the fields of the base that are removed because the override
// sets another member of their union.
func (t *schemaType) unionMembersToClear(base, override map[string]any) (drop []string, errs FieldErrors) {
	for _, union := range t.unions {
		var chosen []string
		for _, member := range union {
			if sets(override, member) {
				chosen = append(chosen, member)
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if set := notEmptyStrings(override, chosen); len(set) > 1 {
			errs = append(errs, FieldError{Message: fmt.Sprintf("sets %s, of which only one may be set", strings.Join(set, " and "))})
		}
		for _, member := range union {
			if _, present := base[member]; present && !sets(override, member) {
				drop = append(drop, member)
			}
		}
	}
	if union := t.discriminated; union != nil && !sets(override, union.member) {
		if kind, ok := override["type"].(string); ok && kind != union.value {
			drop = append(drop, union.member)
		}
	}
	return drop, errs
}

// setDiscriminator sets the type of a discriminated union to the member that the override
// sets, if the override does not set a type.
func (t *schemaType) setDiscriminator(merged, override map[string]any) {
	union := t.discriminated
	if union == nil || !sets(override, union.member) {
		return
	}
	if _, named := override["type"]; named {
		return
	}
	if _, present := merged["type"]; present {
		merged["type"] = union.value
	}
}

// sets reports whether an override sets a field, rather than removing or not changing it. An
// empty object sets it: emptyDir needs no fields.
func sets(override map[string]any, field string) bool {
	value := override[field]
	if object, ok := value.(map[string]any); ok {
		return object[patchDirective] != patchDelete
	}
	return value != nil
}

// notEmptyStrings returns the fields whose value is not "". A "" is valid together with
// another member of the union: the API server treats `value: ""` as absent.
func notEmptyStrings(override map[string]any, fields []string) []string {
	var set []string
	for _, field := range fields {
		if override[field] != "" {
			set = append(set, field)
		}
	}
	return set
}
