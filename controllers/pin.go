package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/templates"
)

// With disableAutoUpdate an object stays at the configuration that it was last
// rolled out with. That configuration is kept in the cluster, in a
// ControllerRevision which the object owns, so it outlives any other event and
// the operator itself. A change of the object's own spec, other than of replicas,
// is a new roll-out and takes the configuration of that moment.

// pinnedConfigLabel is the label on a ControllerRevision that holds a pinned configuration.
// Its value is the UID of the object that the configuration is pinned for.
const pinnedConfigLabel = templates.OwnDomain + "pinned-config-for"

// pin is what a ControllerRevision holds.
type pin struct {
	// Spec is the digest of the owner's spec that the roll-out was made for.
	Spec string `json:"spec"`
	// Config is the whole configuration object.
	Config json.RawMessage `json:"config"`
}

// configFor fills config with what owner is to be made from: what load reads, or
// what was pinned for owner's spec.
func (s *shared) configFor(ctx context.Context, owner client.Object, spec any, pinned bool, config client.Object, load func() error) error {
	revisions := &appsv1.ControllerRevisionList{}
	err := s.client.List(ctx, revisions, client.InNamespace(owner.GetNamespace()), client.MatchingLabels{pinnedConfigLabel: string(owner.GetUID())})
	if err != nil {
		return fmt.Errorf("list pinned configurations: %w", err)
	}
	slices.SortFunc(revisions.Items, func(a, b appsv1.ControllerRevision) int { return cmp.Compare(b.Revision, a.Revision) })
	if !pinned {
		return s.afterLoad(ctx, load, revisions.Items)
	}
	digest, err := rolloutDigest(spec)
	if err != nil {
		return err
	}
	if len(revisions.Items) > 0 {
		newest := pin{}
		if err := json.Unmarshal(revisions.Items[0].Data.Raw, &newest); err != nil {
			return fmt.Errorf("read ControllerRevision %s/%s: %w", owner.GetNamespace(), revisions.Items[0].Name, err)
		}
		if newest.Spec == digest {
			if err := json.Unmarshal(newest.Config, config); err != nil {
				return fmt.Errorf("read ControllerRevision %s/%s: %w", owner.GetNamespace(), revisions.Items[0].Name, err)
			}
			return s.unpin(ctx, revisions.Items[1:])
		}
	}
	if err := load(); err != nil {
		return err
	}
	if err := s.writePin(ctx, owner, digest, config); err != nil {
		return err
	}
	return s.unpin(ctx, revisions.Items)
}

func (s *shared) afterLoad(ctx context.Context, load func() error, revisions []appsv1.ControllerRevision) error {
	if err := load(); err != nil {
		return err
	}
	return s.unpin(ctx, revisions)
}

// writePin keeps config for owner. A ControllerRevision's data never changes, so
// each roll-out has one of its own, named after what is in it.
func (s *shared) writePin(ctx context.Context, owner client.Object, digest string, config client.Object) error {
	kept := config.DeepCopyObject().(client.Object)
	kept.SetManagedFields(nil)
	kept.SetResourceVersion("")
	content, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("pin the configuration: %w", err)
	}
	data, err := json.Marshal(pin{Spec: digest, Config: content})
	if err != nil {
		return fmt.Errorf("pin the configuration: %w", err)
	}
	gvk, err := s.client.GroupVersionKindFor(owner)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            owner.GetName() + "-" + strings.ToLower(gvk.Kind) + "-" + hex.EncodeToString(sum[:5]),
			Labels:          map[string]string{pinnedConfigLabel: string(owner.GetUID()), engineOptions.OwnerLabel(): strings.ToLower(gvk.Kind)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: owner.GetGeneration(),
	}
	err = s.client.Create(ctx, revision, client.FieldOwner(fieldManager))
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("pin the configuration in ControllerRevision %s/%s: %w", revision.Namespace, revision.Name, err)
	}
	return nil
}

// unpin deletes pins that no longer hold.
func (s *shared) unpin(ctx context.Context, revisions []appsv1.ControllerRevision) error {
	for i := range revisions {
		if err := s.client.Delete(ctx, &revisions[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s: %w", revisions[i].Namespace, revisions[i].Name, err)
		}
	}
	return nil
}

// rolloutDigest identifies a spec less the fields that roll nothing out: replicas,
// which scale, and at its root those that say how the object itself is treated.
func rolloutDigest(spec any) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("digest of the spec: %w", err)
	}
	var content any
	if err := json.Unmarshal(text, &content); err != nil {
		return "", fmt.Errorf("digest of the spec: %w", err)
	}
	dropReplicas(content)
	if root, isMap := content.(map[string]any); isMap {
		delete(root, "deletionPolicy")
		delete(root, "disableAutoUpdate")
	}
	if text, err = json.Marshal(content); err != nil {
		return "", fmt.Errorf("digest of the spec: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

func dropReplicas(content any) {
	switch content := content.(type) {
	case map[string]any:
		for _, key := range []string{"replicas", "minReplicas", "maxReplicas"} {
			delete(content, key)
		}
		for _, below := range content {
			dropReplicas(below)
		}
	case []any:
		for _, item := range content {
			dropReplicas(item)
		}
	}
}
