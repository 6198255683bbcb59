package plan

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Labels and annotations of an owner may be propagated to its pods. A change of these alone
// restarts no pods: the pod template keeps its live values until it changes for another
// reason. The rendered workload lists the keys in an annotation; the annotation of the live
// workload has the keys that are not rendered any more.

// propagated returns the propagated keys of an object, as `labels:<key>` or `annotations:<key>`.
func propagated(options object.Options, obj *unstructured.Unstructured) sets.Set[string] {
	return sets.New(strings.Fields(obj.GetAnnotations()[options.PropagatedAnnotation()])...)
}

// deferMetadata keeps the live values of propagated metadata in the step's pod template if the
// template does not change otherwise, and adds a warning with the pending changes.
func deferMetadata(options object.Options, step *Step, adopting bool) {
	if !object.IsWorkload(step.Ref.GroupKind()) {
		return
	}
	keys := propagated(options, step.Object).Union(propagated(options, step.Live))
	if adopting {
		keys = keys.Union(templateKeys(options, step.Live).Difference(templateKeys(options, step.Object)))
	}
	kept := withPreserved(options, step)
	var pending []string
	for _, key := range sets.List(keys) {
		field, name, _ := strings.Cut(key, ":")
		path := []string{"spec", "template", "metadata", field, name}
		live, isLive, _ := unstructured.NestedString(step.Live.Object, path...)
		rendered, isRendered, _ := unstructured.NestedString(step.Object.Object, path...)
		switch otherOwns := isLive && !managedfields.Owns(step.Live, options.FieldManager, path...); {
		case otherOwns && isRendered:
			return // drift, which is reverted
		case otherOwns:
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
			if fields, _, _ := unstructured.NestedMap(kept.Object, path[:len(path)-1]...); len(fields) == 0 {
				// The empty map would be a change of its own.
				object.RemoveField(kept.Object, path[:len(path)-1]...)
			}
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

// templateKeys returns the keys of a pod template, without reserved and preserved keys. At an
// adoption, keys that a previous operator set and that are not rendered count as propagated.
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
