package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// scalingMemory is how long a request for scaling counts.
const scalingMemory = time.Minute

// scale gives a Server the replicas that its scheduler asks for: within the Server's
// bounds, and unless somebody else scales it through the scale subresource. What
// comes of it is told once, and the request is done with.
func (r *serverReconciler) scale(ctx context.Context, server *v1alpha1.Server, request *relay.ScalingRequest) error {
	if request == nil {
		return nil
	}
	replicas, lowest, highest, invalid := server.Spec.Bounds()
	switch {
	case invalid != nil:
		// The Server contradicts itself, which its status tells.
	case time.Since(request.At) > scalingMemory:
		// The Server could not be reconciled meanwhile; the scheduler asks again.
	case request.Replicas == int64(replicas) && server.Spec.Replicas != nil:
	case request.Generation < server.Generation && request.Replicas < int64(replicas):
		// Asked for before the Server was changed: more does no harm, less may.
	case request.Replicas < int64(lowest) || request.Replicas > int64(highest):
		r.tell(server, corev1.EventTypeWarning, "ScalingRejected", fmt.Sprintf(
			"the scheduler asks for %d replicas, which is not between minReplicas %d and maxReplicas %d", request.Replicas, lowest, highest))
	case request.Replicas > r.MaxReplicasPerServer:
		r.tell(server, corev1.EventTypeWarning, "ScalingRejected", fmt.Sprintf(
			"the scheduler asks for %d replicas, and the operator's --max-replicas-per-server allows %d: raise the flag, or set maxReplicas to what it allows", request.Replicas, r.MaxReplicasPerServer))
	default:
		if err := r.applyReplicas(ctx, server, request.Replicas); err != nil {
			return err
		}
	}
	r.relay.ScalingDone(client.ObjectKeyFromObject(server), request)
	return nil //nolint:nilerr // that of Bounds is in the Server's status
}

func (r *serverReconciler) applyReplicas(ctx context.Context, server *v1alpha1.Server, replicas int64) error {
	// The cache has only our own managedFields.
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(server), live); err != nil {
		return fmt.Errorf("get Server: %w", err)
	}
	if scaler := replicasScaler(live.ManagedFields); scaler != "" {
		r.tell(server, corev1.EventTypeNormal, "ScalingIgnored", fmt.Sprintf(
			"the scheduler asks for %d replicas; %s scales this Server and goes first", replicas, scaler))
		return nil
	}
	wish := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": server.Name, "namespace": server.Namespace, "uid": string(server.UID)},
		"spec":     map[string]any{"replicas": replicas},
	}}
	wish.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
	err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(wish), client.FieldOwner(scalingManager), client.ForceOwnership)
	if err != nil {
		if classify(err) == rejected {
			r.tell(server, corev1.EventTypeWarning, "ScalingFailed", err.Error())
		}
		return fmt.Errorf("apply %d replicas: %w", replicas, err)
	}
	r.tell(server, corev1.EventTypeNormal, "Scaled", fmt.Sprintf("to %d replicas, at the scheduler's request", replicas))
	return nil
}

// replicasScaler names the manager that set spec.replicas through the scale
// subresource, if that is how it was set last.
func replicasScaler(managed []metav1.ManagedFieldsEntry) string {
	for _, entry := range managed {
		if entry.Subresource != "scale" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(entry.FieldsV1.GetRawReader()); err == nil && fields.Has(fieldpath.MakePathOrDie("spec", "replicas")) {
			return entry.Manager
		}
	}
	return ""
}
