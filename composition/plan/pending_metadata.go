package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Labels and annotations of an owner may reach its pods. A change of these alone
// restarts nothing: pods keep what they have until their template changes for another
// reason. The rendering lists the keys in an annotation of the workload; the live
// workload's list has those that are not rendered any more.

// propagated are the paths of an object's propagated keys, in its pod template.
func propagated(options object.Options, obj *unstructured.Unstructured) sets.Set[string] {
	return sets.New(strings.Fields(obj.GetAnnotations()[options.PropagatedAnnotation()])...)
}

// keepMetadata keeps the propagated metadata of step's pod template as it is live, if
// the template would otherwise not change, and warns of what is pending.
func keepMetadata(options object.Options, step *Step, adopting bool) {
	if !object.IsWorkload(step.Ref.GroupKind()) {
		return
	}
	keys := propagated(options, step.Object).Union(propagated(options, step.Live))
	if adopting {
		keys = keys.Union(templateKeys(options, step.Live).Difference(templateKeys(options, step.Object)))
	}
	kept := carried(options, step)
	var pending []string
	for _, key := range sets.List(keys) {
		field, name, _ := strings.Cut(key, ":")
		path := []string{"spec", "template", "metadata", field, name}
		live, isLive, _ := unstructured.NestedString(step.Live.Object, path...)
		rendered, isRendered, _ := unstructured.NestedString(step.Object.Object, path...)
		switch theirs := isLive && !managedfields.Owns(step.Live, options.FieldManager, path...); {
		case theirs && isRendered:
			return // drift, which is reverted
		case theirs:
			continue
		case live == rendered && isLive == isRendered:
			continue
		}
		if kept == nil {
			kept = step.Object.DeepCopy()
		}
		if isLive {
			_ = unstructured.SetNestedField(kept.Object, live, path...)
		} else {
			object.RemoveField(kept.Object, path...)
		}
		pending = append(pending, field+" "+name)
	}
	if len(pending) == 0 || !PodTemplateUnchanged(kept, step.Live, options.FieldManager) {
		return
	}
	listed := slices.DeleteFunc(sets.List(keys), func(key string) bool {
		field, name, _ := strings.Cut(key, ":")
		_, found, _ := unstructured.NestedString(kept.Object, "spec", "template", "metadata", field, name)
		return !found && !propagated(options, step.Object).Has(key)
	})
	object.SetField(kept.Object, strings.Join(listed, " "), "metadata", "annotations", options.PropagatedAnnotation())
	step.Object = kept
	step.Warn(MetadataPending, step.Ref.String()+": the next rollout of its pods changes "+strings.Join(pending, ", ")+" of their template")
}

// templateKeys are the keys of a pod template, less ours and those of tools. Those
// that an operator before us wrote and that are not rendered count as propagated.
func templateKeys(options object.Options, obj *unstructured.Unstructured) sets.Set[string] {
	keys := sets.New[string]()
	for _, field := range []string{"labels", "annotations"} {
		values, _, _ := unstructured.NestedStringMap(obj.Object, "spec", "template", "metadata", field)
		for key := range maps.Keys(values) {
			if !options.IsReserved(key) && (options.PreservePodTemplateKey == nil || !options.PreservePodTemplateKey(key)) {
				keys.Insert(field + ":" + key)
			}
		}
	}
	return keys
}
