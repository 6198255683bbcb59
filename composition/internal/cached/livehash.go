package cached

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// LiveHash returns the hash of what drift changes in a live object: its content without
// status and the server's metadata, and the fields that manager owns.
func LiveHash(live *unstructured.Unstructured, manager string) object.Hash {
	content := make(map[string]any, len(live.Object))
	for key, value := range live.Object {
		if key != "status" && key != "metadata" {
			content[key] = value
		}
	}
	if spec, isMap := content["spec"].(map[string]any); isMap {
		content["spec"] = StripClaimTypeMeta(spec)
	}
	metadata, _ := live.Object["metadata"].(map[string]any)
	content["metadata"] = map[string]any{
		"uid":             metadata["uid"],
		"labels":          metadata["labels"],
		"annotations":     metadata["annotations"],
		"ownerReferences": metadata["ownerReferences"],
		"deleting":        metadata["deletionTimestamp"] != nil,
		"owned":           managedfields.OwnWithoutOwnerRefs(live, manager),
	}
	return object.MemoryHash(content)
}

// StripClaimTypeMeta returns a spec whose claim templates have no apiVersion and kind. The
// API server returns these in JSON but not in protobuf, which caches use.
func StripClaimTypeMeta(spec map[string]any) map[string]any {
	templates, found := spec["volumeClaimTemplates"].([]any)
	if !found {
		return spec
	}
	spec = maps.Clone(spec)
	bare := make([]any, 0, len(templates))
	for _, template := range templates {
		claim, _ := template.(map[string]any)
		claim = maps.Clone(claim)
		delete(claim, "apiVersion")
		delete(claim, "kind")
		bare = append(bare, claim)
	}
	spec["volumeClaimTemplates"] = bare
	return spec
}
