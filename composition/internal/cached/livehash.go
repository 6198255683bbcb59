package cached

import (
	"maps"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// contentOf hashes what a drift would change in a live object: everything but
// status and the server's own metadata, and the fields that manager owns.
func LiveHash(live *unstructured.Unstructured, manager string) object.Hash {
	content := make(map[string]any, len(live.Object))
	for key, value := range live.Object {
		if key != "status" && key != "metadata" {
			content[key] = value
		}
	}
	if spec, isMap := content["spec"].(map[string]any); isMap {
		content["spec"] = withoutClaimKinds(spec)
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

// withoutClaimKinds is a spec whose claim templates do not say that they are
// claims. The API server writes that in JSON, and leaves it out of protobuf,
// which caches read.
func withoutClaimKinds(spec map[string]any) map[string]any {
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
