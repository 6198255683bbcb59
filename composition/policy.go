package composition

import (
	"encoding/json"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Policy is what an operator settles once for all its instances.
type Policy struct {
	// Manager is the field manager of children: a constant, it is ownership.
	Manager string
	// Domain prefixes every label and annotation key that the engine writes, and
	// that patches may not touch: `example.com/`, with the slash.
	Domain string
	// Carried tells label and annotation keys of tools such as Helm, which an
	// operator before us copied into pod templates. We never render them, and a
	// live template keeps them until it changes for another reason.
	Carried func(key string) bool
}

// OwnerLabel is the label that every child carries; its value is the owner's
// kind in lower case. Caches of children select by it.
func (p Policy) OwnerLabel() string { return p.Domain + "composed-by" }

// ownKey tells the keys of metadata that are the engine's.
func (p Policy) ownKey(key string) bool { return strings.HasPrefix(key, p.Domain) }

// seedAnnotation remembers on a child the value that a seeded field was last
// given, so that only another wanted value is sent again.
func (p Policy) seedAnnotation() string { return p.Domain + "seeded" }

// originAnnotation remembers on a workload the configuration it was made with.
func (p Policy) originAnnotation() string { return p.Domain + "config-origin" }

// rollAnnotation is the mark on a pod template that rolls its pods.
func (p Policy) rollAnnotation() string { return p.Domain + "config-digest" }

// dressed is a copy of the child's object with the owner's label and reference.
func (p Policy) dressed(child Child, owner Owner) *unstructured.Unstructured {
	object := child.Object.DeepCopy()
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[p.OwnerLabel()] = strings.ToLower(owner.Kind)
	object.SetLabels(labels)
	_ = unstructured.SetNestedSlice(object.Object, []any{owner.reference()}, "metadata", "ownerReferences")
	return object
}

// seed settles a seeded field: it is sent to a new object, and to a live one when
// the value wanted is not the one last sent. In between it is not mentioned, so
// that it is whoever's set it last.
func (p Policy) seed(step *Step, field string) {
	if field == "" {
		return
	}
	path := strings.Split(field, ".")
	value, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, path...)
	if !found {
		return
	}
	wanted, err := json.Marshal(value)
	if err != nil {
		return
	}
	annotations := step.Object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[p.seedAnnotation()] = string(wanted)
	step.Object.SetAnnotations(annotations)
	if step.Live != nil && step.Live.GetAnnotations()[p.seedAnnotation()] == string(wanted) && !p.owns(step.Live, path) {
		unstructured.RemoveNestedField(step.Object.Object, path...)
	}
}

// replicas is the field that autoscalers share with us.
var replicas = []string{"spec", "replicas"}

// yield gives up replicas that we once sent and now do not mention.
func (p Policy) yield(step *Step) {
	if _, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, replicas...); found {
		return
	}
	if p.owns(step.Live, replicas) {
		step.GiveUp = append(step.GiveUp, []any{"spec", "replicas"})
	}
}

// owns tells whether our last apply to live had the field.
func (p Policy) owns(live *unstructured.Unstructured, path []string) bool {
	fields := appliedFields(live, p.Manager)
	for _, name := range path {
		below, found := fields["f:"+name].(map[string]any)
		if !found {
			return false
		}
		fields = below
	}
	return true
}

// carry keeps the carried keys of a live pod template that we own since its
// adoption, as long as the template has no other reason to change; force keeps
// them whatever it has.
func (p Policy) carry(step *Step, force bool) {
	if p.Carried == nil || !isWorkload(step.Key.GroupKind()) {
		return
	}
	carried := step.Object.DeepCopy()
	any := false
	for _, field := range []string{"labels", "annotations"} {
		path := []string{"spec", "template", "metadata", field}
		live, _, _ := unstructured.NestedStringMap(step.Live.Object, path...)
		wanted, _, _ := unstructured.NestedStringMap(carried.Object, path...)
		merged := maps.Clone(wanted)
		for key, value := range live {
			_, rendered := wanted[key]
			if !rendered && p.Carried(key) && p.owns(step.Live, append(path, key)) {
				if merged == nil {
					merged = map[string]string{}
				}
				merged[key] = value
				any = true
			}
		}
		if len(merged) > 0 {
			_ = unstructured.SetNestedStringMap(carried.Object, merged, path...)
		}
	}
	if any && (force || sameTemplate(carried, step.Live, p.Manager)) {
		step.Object = carried
	}
}

// sameTemplate tells whether applying desired leaves live's pod template as it is.
func sameTemplate(desired, live *unstructured.Unstructured, manager string) bool {
	only := func(object *unstructured.Unstructured) any {
		template, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template")
		return template
	}
	owned := appliedFields(live, manager)
	for _, field := range []string{"f:spec", "f:template"} {
		owned, _ = owned[field].(map[string]any)
	}
	if _, same := sameFields(only(desired), owned, ""); !same {
		return false
	}
	canonical, err := canonicalised(desired)
	if err != nil {
		return false
	}
	_, same := containedIn(only(canonical), only(live), "")
	return same
}
