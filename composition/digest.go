package composition

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// digest identifies a piece of JSON. The zero digest is that of nothing.
type digest [sha256.Size]byte

// String is short enough for an annotation and long enough to be unique.
func (d digest) String() string { return hex.EncodeToString(d[:8]) }

// digestOf hashes decoded JSON, whose maps encoding/json writes in key order.
func digestOf(value any) digest {
	text, err := json.Marshal(value)
	if err != nil {
		return digest{}
	}
	return sha256.Sum256(text)
}

// contentOf hashes what a drift would change in a live object: everything but
// status and the server's own metadata, and the fields that manager owns.
func contentOf(live *unstructured.Unstructured, manager string) digest {
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
		"owned":           ownedContent(live, manager),
	}
	return digestOf(content)
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
