package composition

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// guardPatched returns what a patch did to an object that patches may not do.
func guardPatched(before, after map[string]any, ownKeys func(string) bool) (errs fieldErrors) {
	for _, check := range []func(before, after map[string]any) fieldErrors{
		guardIdentity, guardMetadata, guardSelector, guardTemplateLabels,
	} {
		errs = append(errs, check(before, after)...)
	}
	return append(errs, guardOwnKeys(before, after, ownKeys)...)
}

// unchangeable is the message for a field that is not a patch's to change.
const unchangeable = "a patch may not change this"

func guardIdentity(before, after map[string]any) (errs fieldErrors) {
	for _, key := range []string{"apiVersion", "kind", "status"} {
		if !reflect.DeepEqual(before[key], after[key]) {
			errs = append(errs, fieldError{key, unchangeable})
		}
	}
	return errs
}

// guardMetadata leaves labels and annotations to patches and nothing else: name,
// namespace, owners and finalizers are ours, the rest is the API server's.
func guardMetadata(before, after map[string]any) (errs fieldErrors) {
	was, _ := before["metadata"].(map[string]any)
	is, ok := after["metadata"].(map[string]any)
	if !ok {
		return wrongType("an object", after["metadata"]).under("metadata")
	}
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	for key := range keys {
		if key != "labels" && key != "annotations" && !reflect.DeepEqual(was[key], is[key]) {
			errs = append(errs, fieldError{"metadata." + key, unchangeable})
		}
	}
	// Of a kind that we have no schema of, this much is known.
	return append(errs, ValidateMetadata(is).under("metadata")...)
}

// guardSelector keeps selectors, which decide whose pods an object takes for its own.
func guardSelector(before, after map[string]any) fieldErrors {
	if reflect.DeepEqual(specSelector(before), specSelector(after)) {
		return nil
	}
	return fieldErrors{{"spec.selector", unchangeable}}
}

func specSelector(object map[string]any) any {
	spec, _ := object["spec"].(map[string]any)
	return spec["selector"]
}

// guardTemplateLabels sees to it that a workload still selects its own pods; the
// API server refuses it otherwise.
func guardTemplateLabels(before, after map[string]any) fieldErrors {
	spec, _ := after["spec"].(map[string]any)
	template, templated := spec["template"].(map[string]any)
	selector, selected := specSelector(before).(map[string]any)
	if !templated || !selected {
		return nil
	}
	var wanted metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(selector, &wanted); err != nil {
		return nil // a map of labels, as in a Service, or a foreign kind's affair
	}
	matcher, err := metav1.LabelSelectorAsSelector(&wanted)
	if err != nil {
		return nil
	}
	metadata, _ := template["metadata"].(map[string]any)
	raw, _ := metadata["labels"].(map[string]any)
	have := labels.Set{}
	for key, value := range raw {
		have[key], _ = value.(string)
	}
	if matcher.Matches(have) {
		return nil
	}
	return fieldErrors{{"spec.template.metadata.labels", fmt.Sprintf("must keep what spec.selector asks for: %s", matcher)}}
}

// guardOwnKeys keeps labels and annotations with keys of our own as they are,
// in the object's metadata and in every template that it holds.
func guardOwnKeys(before, after map[string]any, ownKeys func(string) bool) (errs fieldErrors) {
	was, is := map[string][]any{}, map[string][]any{}
	collectOwnKeys(was, "", before, ownKeys)
	collectOwnKeys(is, "", after, ownKeys)
	paths := maps.Clone(was)
	maps.Copy(paths, is)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !reflect.DeepEqual(was[path], is[path]) {
			errs = append(errs, fieldError{strings.TrimPrefix(path, "."), unchangeable})
		}
	}
	return errs
}

// collectOwnKeys gathers, by path, the labels and annotations below value whose keys
// are our own. Items of a list share a path, in the list's order.
func collectOwnKeys(found map[string][]any, path string, value any, ownKeys func(string) bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			collectOwnKeys(found, path+"[]", item, ownKeys)
		}
	case map[string]any:
		for key, member := range value {
			if key == "metadata" {
				collectOwnMetadata(found, path, member, ownKeys)
				continue
			}
			collectOwnKeys(found, path+"."+key, member, ownKeys)
		}
	}
}

func collectOwnMetadata(found map[string][]any, path string, metadata any, ownKeys func(string) bool) {
	object, _ := metadata.(map[string]any)
	for _, kind := range []string{"labels", "annotations"} {
		entries, _ := object[kind].(map[string]any)
		for key, value := range entries {
			if ownKeys(key) {
				at := path + ".metadata." + kind + "[" + key + "]"
				found[at] = append(found[at], value)
			}
		}
	}
}
