package inputs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// rolloutHash returns a hash of a spec without the fields that cause no rollout: replicas,
// which scale, and at its root those that define how the object itself is treated.
func rolloutHash(spec any) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("hash of the spec: %w", err)
	}
	var content any
	if err := json.Unmarshal(text, &content); err != nil {
		return "", fmt.Errorf("hash of the spec: %w", err)
	}
	removeReplicas(content)
	if root, isMap := content.(map[string]any); isMap {
		delete(root, "deletionPolicy")
		delete(root, "disableAutoUpdate")
	}
	if text, err = json.Marshal(content); err != nil {
		return "", fmt.Errorf("hash of the spec: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

func removeReplicas(content any) {
	switch content := content.(type) {
	case map[string]any:
		for _, key := range []string{"replicas", "minReplicas", "maxReplicas"} {
			delete(content, key)
		}
		for _, value := range content {
			removeReplicas(value)
		}
	case []any:
		for _, item := range content {
			removeReplicas(item)
		}
	}
}
