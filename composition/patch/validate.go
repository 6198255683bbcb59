package patch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// validatePatched returns the errors of changes that a patch must not make.
func validatePatched(before, after map[string]any, isReserved func(string) bool) (errs merge.FieldErrors) {
	for _, check := range []func(before, after map[string]any) merge.FieldErrors{
		validateIdentity, validateMetadata, validateSelector, validateSelectorMatches,
	} {
		errs = append(errs, check(before, after)...)
	}
	return append(errs, validateReservedKeys(before, after, isReserved)...)
}

// msgImmutable is the message for a field that a patch must not change.
const msgImmutable = "must not be changed by a patch"

func validateIdentity(before, after map[string]any) (errs merge.FieldErrors) {
	for _, key := range []string{"apiVersion", "kind", "status"} {
		if !reflect.DeepEqual(before[key], after[key]) {
			errs = append(errs, merge.FieldError{Path: key, Message: msgImmutable})
		}
	}
	return errs
}

// validateMetadata allows changes of labels and annotations only: name, namespace, owners and
// finalizers belong to the engine, other metadata to the API server.
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
	// The schema of metadata is known for kinds without a schema too.
	return append(errs, merge.ValidateMetadata(is).Prefix("metadata")...)
}

// validateSelector rejects changes of selectors, which determine the pods of an object.
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

// validateSelectorMatches requires that a workload selects its own pods; the API server
// rejects it otherwise.
func validateSelectorMatches(before, after map[string]any) merge.FieldErrors {
	spec, _ := after["spec"].(map[string]any)
	template, templated := spec["template"].(map[string]any)
	selector, selected := specSelector(before).(map[string]any)
	if !templated || !selected {
		return nil
	}
	var labelSelector metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(selector, &labelSelector); err != nil {
		return nil // a map of labels, as in a Service, or a kind with another selector
	}
	matcher, err := metav1.LabelSelectorAsSelector(&labelSelector)
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
	return merge.FieldErrors{{Path: "spec.template.metadata.labels", Message: fmt.Sprintf("must match spec.selector: %s", matcher)}}
}

// validateReservedKeys rejects changes of labels and annotations with reserved keys, in the
// metadata of the object and of all templates in it.
func validateReservedKeys(before, after map[string]any, isReserved func(string) bool) (errs merge.FieldErrors) {
	was, is := map[string][]any{}, map[string][]any{}
	collectReservedKeys(was, "", before, isReserved)
	collectReservedKeys(is, "", after, isReserved)
	paths := maps.Clone(was)
	maps.Copy(paths, is)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !reflect.DeepEqual(was[path], is[path]) {
			errs = append(errs, merge.FieldError{Path: strings.TrimPrefix(path, "."), Message: msgImmutable})
		}
	}
	return errs
}

// collectReservedKeys adds to found the labels and annotations below value with reserved keys,
// by path. Items of a list share a path, in the order of the list.
func collectReservedKeys(found map[string][]any, path string, value any, isReserved func(string) bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			collectReservedKeys(found, path+"[]", item, isReserved)
		}
	case map[string]any:
		for key, member := range value {
			if key == "metadata" {
				collectReservedMetadata(found, path, member, isReserved)
				continue
			}
			collectReservedKeys(found, path+"."+key, member, isReserved)
		}
	}
}

func collectReservedMetadata(found map[string][]any, path string, metadata any, isReserved func(string) bool) {
	object, _ := metadata.(map[string]any)
	for _, kind := range []string{"labels", "annotations"} {
		entries, _ := object[kind].(map[string]any)
		for key, value := range entries {
			if isReserved(key) {
				at := path + ".metadata." + kind + "[" + key + "]"
				found[at] = append(found[at], value)
			}
		}
	}
}
