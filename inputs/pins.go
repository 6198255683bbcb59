package inputs

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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/templates"
)

// With disableAutoUpdate, an object keeps the configuration of its last rollout. That
// configuration is stored in the cluster, in a ControllerRevision that the object owns,
// so that it is still available after a change of the configuration and after a restart
// of the operator. A change of the object's own spec, other than of replicas, is a new
// rollout with the configuration that is current then.

// pinnedConfigLabel is the label on a ControllerRevision that holds a pinned configuration.
// Its value is the UID of the object that the configuration is pinned for.
const pinnedConfigLabel = templates.KeyPrefix + "pinned-config-for"

// Pins are the changes to the pinned configurations of an object that must be written
// before the object is applied: Create first, which may exist already, then Delete.
type Pins struct {
	// Create is the configuration to pin; nil if there is nothing to create.
	Create *appsv1.ControllerRevision
	// Delete are pinned configurations that are no longer used.
	Delete []appsv1.ControllerRevision
}

// pinnedConfig is the data of a ControllerRevision.
type pinnedConfig struct {
	// Spec is the hash of the owner's spec that was rolled out with the configuration.
	Spec string `json:"spec"`
	// Config is the whole configuration object.
	Config json.RawMessage `json:"config"`
}

// resolveConfig reads the configuration of owner into config: by read, or, if pinned, the
// one that is pinned for the owner's specHash. The Pins are valid also with an error.
func (r *Resolver) resolveConfig(ctx context.Context, owner client.Object, kind schema.GroupVersionKind, specHash string, pinned bool, config client.Object, read func() error) (Pins, error) {
	revisions := &appsv1.ControllerRevisionList{}
	err := r.Reader.List(ctx, revisions, client.InNamespace(owner.GetNamespace()), client.MatchingLabels{pinnedConfigLabel: string(owner.GetUID())})
	if err != nil {
		return Pins{}, fmt.Errorf("list pinned configurations: %w", err)
	}
	slices.SortFunc(revisions.Items, func(a, b appsv1.ControllerRevision) int { return cmp.Compare(b.Revision, a.Revision) })
	if pinned && len(revisions.Items) > 0 {
		newest := pinnedConfig{}
		err := json.Unmarshal(revisions.Items[0].Data.Raw, &newest)
		if err == nil && newest.Spec == specHash {
			err = json.Unmarshal(newest.Config, config)
		}
		if err != nil {
			return Pins{}, fmt.Errorf("read ControllerRevision %s/%s: %w", owner.GetNamespace(), revisions.Items[0].Name, err)
		}
		if newest.Spec == specHash {
			return Pins{Delete: revisions.Items[1:]}, nil
		}
	}
	if err := read(); err != nil {
		return Pins{}, err
	}
	if !pinned {
		return Pins{Delete: revisions.Items}, nil
	}
	pin, err := newPin(owner, kind, specHash, config)
	if err != nil {
		return Pins{}, err
	}
	return Pins{Create: pin, Delete: revisions.Items}, nil
}

// newPin returns a ControllerRevision that pins config for owner. The data of a
// ControllerRevision never changes, so each rollout has its own, named after its data.
func newPin(owner client.Object, kind schema.GroupVersionKind, specHash string, config client.Object) (*appsv1.ControllerRevision, error) {
	stored := config.DeepCopyObject().(client.Object)
	stored.SetManagedFields(nil)
	stored.SetResourceVersion("")
	content, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("pin the configuration: %w", err)
	}
	data, err := json.Marshal(pinnedConfig{Spec: specHash, Config: content})
	if err != nil {
		return nil, fmt.Errorf("pin the configuration: %w", err)
	}
	sum := sha256.Sum256(data)
	ownerKind := strings.ToLower(kind.Kind)
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            owner.GetName() + "-" + ownerKind + "-" + hex.EncodeToString(sum[:5]),
			Labels:          map[string]string{pinnedConfigLabel: string(owner.GetUID()), EngineOptions.OwnerLabel(): ownerKind},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: owner.GetGeneration(),
	}, nil
}
