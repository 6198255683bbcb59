package cluster

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Client sends requests for single objects. It is safe for concurrent use.
type Client struct {
	// Client writes, and reads the cache.
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	Options   object.Options
}

// CreateOnly is a resourceVersion that no object has. An apply with it creates an
// object, and is a conflict with one that exists: server-side apply has no other
// precondition for that, and the object need not be read first.
//
// This is not documented. It follows from Update in k8s.io/apiserver's
// pkg/registry/generic/registry/store.go, which creates an object that does not exist
// without looking at its resourceVersion, and compares that of one that exists; seen in
// 1.30 and 1.37. The engine's tests rely on it, and fail on an API server that behaves
// differently.
const CreateOnly = "1"

// Get reads an object from the API server, not from the cache, which trims
// managedFields. It returns nil if the object does not exist.
func (c *Client) Get(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(ref.GroupVersionKind)
	err := c.APIReader.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, found)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", ref, err)
	}
	return found, nil
}

// Apply applies desired over live, and returns the result as the cache will have it,
// unstructured and typed. A nil live creates the object, and is a conflict if one exists.
// Otherwise the apply has live's UID: a deleted object is not created again.
func (c *Client) Apply(ctx context.Context, desired, live *unstructured.Unstructured, options ...client.ApplyOption) (*unstructured.Unstructured, client.Object, error) {
	// The response replaces the content.
	sent := &unstructured.Unstructured{Object: maps.Clone(desired.Object)}
	if live == nil {
		object.SetField(sent.Object, CreateOnly, "metadata", "resourceVersion")
	} else {
		object.SetField(sent.Object, string(live.GetUID()), "metadata", "uid")
	}
	gvk := desired.GroupVersionKind()
	options = append(options, client.FieldOwner(c.Options.FieldManager), client.ForceOwnership)
	if err := c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(sent), options...); err != nil {
		return nil, nil, fmt.Errorf("apply: %w", err)
	}
	typed, err := c.toCached(sent)
	if err != nil {
		return nil, nil, err
	}
	result, err := cached.FromTyped(typed, gvk)
	return result, typed, err
}

// PatchMetadata sends a merge patch of live's metadata, and returns the result as the
// cache will have it.
func (c *Client) PatchMetadata(ctx context.Context, live *unstructured.Unstructured, patch []byte) (*unstructured.Unstructured, error) {
	patched := live.DeepCopy()
	err := c.Client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(c.Options.FieldManager))
	if err != nil {
		return nil, err
	}
	gvk := patched.GroupVersionKind()
	typed, err := c.toCached(patched)
	if err != nil {
		return nil, err
	}
	return cached.FromTyped(typed, gvk)
}

// Delete deletes an object with its UID as precondition, and returns whether it still
// existed.
func (c *Client) Delete(ctx context.Context, live *unstructured.Unstructured) (bool, error) {
	uid := live.GetUID()
	err := c.Client.Delete(ctx, live.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsConflict(err):
		// Another object of that name, or an admission webhook that responds so.
		current, getErr := c.Get(ctx, object.RefOf(live))
		if getErr == nil && (current == nil || current.GetUID() != uid) {
			return false, nil
		}
	}
	return false, fmt.Errorf("delete: %w", err)
}

// toCached converts an object of a response into the form that it has in the cache, so
// that the two compare equal.
func (c *Client) toCached(response *unstructured.Unstructured) (client.Object, error) {
	typed, err := cached.ToTyped(response, c.Client.Scheme())
	if runtime.IsNotRegisteredError(err) {
		managedfields.Trim(response, c.Options)
		return response, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = cached.Transform(c.Options)(typed)
	return typed, err
}
