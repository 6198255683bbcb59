package composition

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Policy is what an operator settles once for all its instances.
type Options struct {
	// Manager is the field manager of children: a constant, it is ownership.
	FieldManager string
	// Domain prefixes every label and annotation key that the engine writes, and
	// that patches may not touch: `example.com/`, with the slash.
	KeyPrefix string
	// Carried tells label and annotation keys of tools such as Helm, which an
	// operator before us copied into pod templates. We never render them, and a
	// live template keeps them until it changes for another reason.
	PreservePodTemplateKey func(key string) bool
	// LastApplied is the key of an annotation in which an operator before us
	// remembers what it wrote; empty for none. It tells that this operator has
	// written to a child again after we took it over.
	LegacyLastAppliedAnnotation string
}

// OwnerLabel is the label that every child carries; its value is the owner's
// kind in lower case. Caches of children select by it.
func (p Options) OwnerLabel() string { return p.KeyPrefix + "owner-kind" }

// ownKey tells the keys of metadata that are the engine's.
func (p Options) ownKey(key string) bool { return strings.HasPrefix(key, p.KeyPrefix) }

// initialValueHashAnnotation is the key of the annotation on a child with the hash of the
// last value that was sent for its initial-only field. The field is sent again only when
// its desired value has another hash.
func (p Options) initialValueHashAnnotation() string { return p.KeyPrefix + "initial-value-hash" }

// hashAtCreationAnnotation is the key of the annotation on a workload with the hash of the
// configuration that it was created or adopted with.
func (p Options) hashAtCreationAnnotation() string { return p.KeyPrefix + "config-hash-at-creation" }

// hashAtAdoptionAnnotation is the key of the annotation on an adopted ConfigMap or Secret
// with the hash of its content at adoption.
func (p Options) hashAtAdoptionAnnotation() string { return p.KeyPrefix + "config-hash-at-adoption" }

// configHashAnnotation is the key of the annotation on a pod template with the hash of the
// configuration that its pods read at start. A new value causes a rolling restart.
func (p Options) configHashAnnotation() string { return p.KeyPrefix + "config-hash" }

// pruneDisabled reports whether an annotation keeps an orphan from being pruned.
func (p Options) pruneDisabled(live *unstructured.Unstructured) bool {
	annotations := live.GetAnnotations()
	return annotations[p.KeyPrefix+"prune"] == "disabled" || annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
}

// labels are those that children of owner carry.
func (p Options) labels(owner Owner) map[string]string {
	return map[string]string{p.OwnerLabel(): strings.ToLower(owner.Kind)}
}

// dressed is the child's object with the owner's label and reference. It shares
// with the child all that is below its metadata: see setField.
func (p Options) dressed(child Object, owner Owner) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: maps.Clone(child.Object.Object)}
	for key, value := range p.labels(owner) {
		SetField(object.Object, value, "metadata", "labels", key)
	}
	SetField(object.Object, []any{owner.reference()}, "metadata", "ownerReferences")
	return object
}

// setField sets a field, and removeField removes one. The maps on the way there
// are copied first, so that whoever shares them does not see it.
func SetField(object map[string]any, value any, path ...string) {
	for _, name := range path[:len(path)-1] {
		below, _ := object[name].(map[string]any)
		if below = maps.Clone(below); below == nil {
			below = map[string]any{}
		}
		object[name] = below
		object = below
	}
	object[path[len(path)-1]] = value
}

func RemoveField(object map[string]any, path ...string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(object, path...); !found {
		return
	}
	for _, name := range path[:len(path)-1] {
		below := maps.Clone(object[name].(map[string]any))
		object[name] = below
		object = below
	}
	delete(object, path[len(path)-1])
}

// seed settles a seeded field: it is sent to a new object, and to a live one when
// the value wanted is not the one last sent. In between, once somebody else has
// set it, it is not mentioned.
func (p Options) seed(step *Step, field []string) {
	value, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...)
	if !found {
		return
	}
	wanted := StableHash(value).String()
	SetField(step.Object.Object, wanted, "metadata", "annotations", p.initialValueHashAnnotation())
	if step.Live != nil && step.Live.GetAnnotations()[p.initialValueHashAnnotation()] == wanted && !Owns(step.Live, p.FieldManager, field...) {
		RemoveField(step.Object.Object, field...)
	}
}

// replicas is the field that autoscalers share with us.
var replicas = []string{"spec", "replicas"}

// yield gives up a field that others may set, which we once sent and now do not
// mention.
func (p Options) yield(step *Step, field []string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...); !found && Owns(step.Live, p.FieldManager, field...) {
		step.ReleaseFields = append(step.ReleaseFields, field)
	}
}

// carry keeps what a predecessor wrote into a live pod template, which we own
// since its adoption and would never render, as long as the template has no other
// reason to change; force keeps it whatever there is. It is the carried keys, and
// the template's own name and namespace: they mean nothing, but they are part of
// what a workload's controller compares.
func (p Options) carry(step *Step, force bool) {
	if !IsWorkload(step.Ref.GroupKind()) {
		return
	}
	if carried := p.carried(step); carried != nil && (force || sameTemplate(carried, step.Live, p.FieldManager)) {
		step.Object = carried
	}
}

// carried is the object of step with what it would keep; nil if that is nothing.
func (p Options) carried(step *Step) *unstructured.Unstructured {
	metadata := []string{"spec", "template", "metadata"}
	paths := [][]string{append(slices.Clone(metadata), "name"), append(slices.Clone(metadata), "namespace")}
	for _, field := range []string{"labels", "annotations"} {
		path := append(slices.Clone(metadata), field)
		live, _, _ := unstructured.NestedStringMap(step.Live.Object, path...)
		for _, key := range slices.Sorted(maps.Keys(live)) {
			if p.PreservePodTemplateKey != nil && p.PreservePodTemplateKey(key) {
				paths = append(paths, append(slices.Clone(path), key))
			}
		}
	}
	var carried *unstructured.Unstructured
	for _, path := range paths {
		value, found, _ := unstructured.NestedString(step.Live.Object, path...)
		_, rendered, _ := unstructured.NestedString(step.Object.Object, path...)
		if !found || rendered || !Owns(step.Live, p.FieldManager, path...) {
			continue
		}
		if carried == nil {
			carried = step.Object.DeepCopy()
		}
		_ = unstructured.SetNestedField(carried.Object, value, path...)
	}
	return carried
}
