package merge

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// unionFields names the types of which one field at most may be set; where not
// all fields take part, those that do. The API types say so only in comments.
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

// unionsOf returns the unions among the fields that a struct type itself
// declares, which own names.
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

// discriminatedUnion is a union whose type field says which member counts. Those
// of the API have one member only that carries more than its name.
type discriminatedUnion struct {
	member string // the field
	value  string // what type must be for it
}

// discriminatedUnionOf recognises such a union by its fields: update strategies
// and security profiles have a type of their own in each API group and version.
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

// cleared returns the fields of the base that must go because the override
// chooses another member of their union.
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

// adoptDiscriminator turns the type of a discriminated union to the member that
// the override chose, if the override itself does not name a type.
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

// chooses tells whether an override sets a field rather than removing it or
// leaving it alone. An empty object is a choice: emptyDir has nothing more to say.
func sets(override map[string]any, field string) bool {
	value := override[field]
	if object, ok := value.(map[string]any); ok {
		return object[patchDirective] != patchDelete
	}
	return value != nil
}

// notEmptyStrings leaves out those fields whose value is "", which may stand
// beside another member of the union: the API server takes `value: ""` for absent.
func notEmptyStrings(override map[string]any, fields []string) []string {
	var set []string
	for _, field := range fields {
		if override[field] != "" {
			set = append(set, field)
		}
	}
	return set
}
