package patch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/merge"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// guardPatched returns what a patch did to an object that patches may not do.
func validatePatched(before, after map[string]any, ownKeys func(string) bool) (errs merge.FieldErrors) {
	for _, check := range []func(before, after map[string]any) merge.FieldErrors{
		validateIdentity, validateMetadata, validateSelector, validateSelectorMatches,
	} {
		errs = append(errs, check(before, after)...)
	}
	return append(errs, validateReservedKeys(before, after, ownKeys)...)
}

// unchangeable is the message for a field that is not a patch's to change.
const msgImmutable = "a patch may not change this"

func validateIdentity(before, after map[string]any) (errs merge.FieldErrors) {
	for _, key := range []string{"apiVersion", "kind", "status"} {
		if !reflect.DeepEqual(before[key], after[key]) {
			errs = append(errs, merge.FieldError{Path: key, Message: msgImmutable})
		}
	}
	return errs
}

// guardMetadata leaves labels and annotations to patches and nothing else: name,
// namespace, owners and finalizers are ours, the rest is the API server's.
func validateMetadata(before, after map[string]any) (errs merge.FieldErrors) {
	was, _ := before["metadata"].(map[string]any)
	is, ok := after["metadata"].(map[string]any)
	if !ok {
		return merge.TypeErrors("an object", after["metadata"]).Prefix("metadata")
	}
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	for key := range keys {
		if key != "labels" && key != "annotations" && !reflect.DeepEqual(was[key], is[key]) {
			errs = append(errs, merge.FieldError{Path: "metadata." + key, Message: msgImmutable})
		}
	}
	// Of a kind that we have no schema of, this much is known.
	return append(errs, merge.ValidateMetadata(is).Prefix("metadata")...)
}

// guardSelector keeps selectors, which decide whose pods an object takes for its own.
func validateSelector(before, after map[string]any) merge.FieldErrors {
	if reflect.DeepEqual(specSelector(before), specSelector(after)) {
		return nil
	}
	return merge.FieldErrors{{Path: "spec.selector", Message: msgImmutable}}
}

func specSelector(object map[string]any) any {
	spec, _ := object["spec"].(map[string]any)
	return spec["selector"]
}

// guardTemplateLabels sees to it that a workload still selects its own pods; the
// API server refuses it otherwise.
func validateSelectorMatches(before, after map[string]any) merge.FieldErrors {
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
	return merge.FieldErrors{{Path: "spec.template.metadata.labels", Message: fmt.Sprintf("must keep what spec.selector asks for: %s", matcher)}}
}

// guardOwnKeys keeps labels and annotations with keys of our own as they are,
// in the object's metadata and in every template that it holds.
func validateReservedKeys(before, after map[string]any, ownKeys func(string) bool) (errs merge.FieldErrors) {
	was, is := map[string][]any{}, map[string][]any{}
	collectReservedKeys(was, "", before, ownKeys)
	collectReservedKeys(is, "", after, ownKeys)
	paths := maps.Clone(was)
	maps.Copy(paths, is)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !reflect.DeepEqual(was[path], is[path]) {
			errs = append(errs, merge.FieldError{Path: strings.TrimPrefix(path, "."), Message: msgImmutable})
		}
	}
	return errs
}

// collectOwnKeys gathers, by path, the labels and annotations below value whose keys
// are our own. Items of a list share a path, in the list's order.
func collectReservedKeys(found map[string][]any, path string, value any, ownKeys func(string) bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			collectReservedKeys(found, path+"[]", item, ownKeys)
		}
	case map[string]any:
		for key, member := range value {
			if key == "metadata" {
				collectReservedMetadata(found, path, member, ownKeys)
				continue
			}
			collectReservedKeys(found, path+"."+key, member, ownKeys)
		}
	}
}

func collectReservedMetadata(found map[string][]any, path string, metadata any, ownKeys func(string) bool) {
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
