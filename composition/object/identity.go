package object

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// StripIdentity returns an apply configuration without the fields that identify the object,
// which no field manager owns.
func StripIdentity(object *unstructured.Unstructured) map[string]any {
	fields := make(map[string]any, len(object.Object))
	for key, value := range object.Object {
		if key != "apiVersion" && key != "kind" {
			fields[key] = value
		}
	}
	if metadata, found := fields["metadata"].(map[string]any); found {
		rest := make(map[string]any, len(metadata))
		for key, value := range metadata {
			if key != "name" && key != "namespace" && key != "uid" {
				rest[key] = value
			}
		}
		fields["metadata"] = rest
	}
	return fields
}
