package plan

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// applyInitialOnly decides whether an initial-only field is sent: to a new object, and to a
// live one if its desired value is not the last one sent. If another manager has set it since
// then, it is removed from the step's object.
func applyInitialOnly(options object.Options, step *Step, field []string) {
	value, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...)
	if !found {
		return
	}
	hash := object.StableHash(value).String()
	object.SetField(step.Object.Object, hash, "metadata", "annotations", options.InitialValueHashAnnotation())
	if step.Live != nil && step.Live.GetAnnotations()[options.InitialValueHashAnnotation()] == hash && !managedfields.Owns(step.Live, options.FieldManager, field...) {
		object.RemoveField(step.Object.Object, field...)
	}
}

// ReplicasPath is the path of the field that autoscalers set as well.
var ReplicasPath = []string{"spec", "replicas"}

// releaseUnset releases a field that others may set if it was applied and is not rendered any
// more, so that its live value stays.
func releaseUnset(options object.Options, step *Step, field []string) {
	if _, found, _ := unstructured.NestedFieldNoCopy(step.Object.Object, field...); !found && managedfields.Owns(step.Live, options.FieldManager, field...) {
		step.ReleaseFields = append(step.ReleaseFields, field)
	}
}

// preservePodTemplateKeys adds to the step's object what a previous operator set in the live
// pod template, which the engine owns since the adoption and does not render, as long as the
// pod template does not change for another reason; force adds it in any case. These are the
// keys of [object.Options.PreservePodTemplateKey], and the name and namespace of the pod
// template, which have no meaning but are compared by the workload's controller.
func preservePodTemplateKeys(options object.Options, step *Step, force bool) {
	if !object.IsWorkload(step.Ref.GroupKind()) {
		return
	}
	if preserved := withPreserved(options, step); preserved != nil && (force || PodTemplateUnchanged(preserved, step.Live, options.FieldManager)) {
		step.Object = preserved
	}
}

// withPreserved returns a copy of the step's object with the live values to preserve; nil if
// there are none.
func withPreserved(options object.Options, step *Step) *unstructured.Unstructured {
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
	var preserved *unstructured.Unstructured
	for _, path := range paths {
		value, found, _ := unstructured.NestedString(step.Live.Object, path...)
		_, rendered, _ := unstructured.NestedString(step.Object.Object, path...)
		if !found || rendered || !managedfields.Owns(step.Live, options.FieldManager, path...) {
			continue
		}
		if preserved == nil {
			preserved = step.Object.DeepCopy()
		}
		_ = unstructured.SetNestedField(preserved.Object, value, path...)
	}
	return preserved
}
