package plan

import (
	"maps"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// seed settles a seeded field: it is sent to a new object, and to a live one when
// the value wanted is not the one last sent. In between, once somebody else has
// set it, it is not mentioned.
func applyInitialOnly(options object.Options, step *Step, field []string) {
	value, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...)
	if !found {
		return
	}
	wanted := object.StableHash(value).String()
	object.SetField(step.Object.Object, wanted, "metadata", "annotations", options.InitialValueHashAnnotation())
	if step.Live != nil && step.Live.GetAnnotations()[options.InitialValueHashAnnotation()] == wanted && !managedfields.Owns(step.Live, options.FieldManager, field...) {
		object.RemoveField(step.Object.Object, field...)
	}
}

// replicas is the field that autoscalers share with us.
var ReplicasPath = []string{"spec", "replicas"}

// yield gives up a field that others may set, which we once sent and now do not
// mention.
func releaseUnset(options object.Options, step *Step, field []string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...); !found && managedfields.Owns(step.Live, options.FieldManager, field...) {
		step.ReleaseFields = append(step.ReleaseFields, field)
	}
}

// carry keeps what a predecessor wrote into a live pod template, which we own
// since its adoption and would never render, as long as the template has no other
// reason to change; force keeps it whatever there is. It is the carried keys, and
// the template's own name and namespace: they mean nothing, but they are part of
// what a workload's controller compares.
func preservePodTemplateKeys(options object.Options, step *Step, force bool) {
	if !object.IsWorkload(step.Ref.GroupKind()) {
		return
	}
	if carried := carried(options, step); carried != nil && (force || PodTemplateUnchanged(carried, step.Live, options.FieldManager)) {
		step.Object = carried
	}
}

// carried is the object of step with what it would keep; nil if that is nothing.
func carried(options object.Options, step *Step) *unstructured.Unstructured {
	metadata := []string{"spec", "template", "metadata"}
	paths := [][]string{append(slices.Clone(metadata), "name"), append(slices.Clone(metadata), "namespace")}
	for _, field := range []string{"labels", "annotations"} {
		path := append(slices.Clone(metadata), field)
		live, _, _ := unstructured.NestedStringMap(step.Live.Object, path...)
		for _, key := range slices.Sorted(maps.Keys(live)) {
			if options.PreservePodTemplateKey != nil && options.PreservePodTemplateKey(key) {
				paths = append(paths, append(slices.Clone(path), key))
			}
		}
	}
	var carried *unstructured.Unstructured
	for _, path := range paths {
		value, found, _ := unstructured.NestedString(step.Live.Object, path...)
		_, rendered, _ := unstructured.NestedString(step.Object.Object, path...)
		if !found || rendered || !managedfields.Owns(step.Live, options.FieldManager, path...) {
			continue
		}
		if carried == nil {
			carried = step.Object.DeepCopy()
		}
		_ = unstructured.SetNestedField(carried.Object, value, path...)
	}
	return carried
}
