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
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// scalingRequestTTL is how long a request for scaling is valid.
const scalingRequestTTL = time.Minute

// scale gives a Server the replicas that its scheduler requests: within the Server's
// minReplicas and maxReplicas, and unless the replicas were set through the scale
// subresource. The result is recorded as an Event, and the request is acknowledged.
func (r *serverReconciler) scale(ctx context.Context, server *v1alpha1.Server, request *relay.ScalingRequest) error {
	if request == nil {
		return nil
	}
	replicas, lowest, highest, invalid := server.Spec.Bounds()
	switch {
	case invalid != nil:
		// The Server's fields contradict each other, which its status reports.
	case time.Since(request.At) > scalingRequestTTL:
		// The Server could not be reconciled meanwhile; the scheduler repeats the request.
	case request.Replicas == int64(replicas) && server.Spec.Replicas != nil:
	case request.Generation < server.Generation && request.Replicas < int64(replicas):
		// Requested before the Server was changed: fewer replicas may be too few now.
	case request.Replicas < int64(lowest) || request.Replicas > int64(highest):
		r.RecordEvent(server, corev1.EventTypeWarning, "ScalingRejected", fmt.Sprintf(
			"the scheduler requests %d replicas, which is not between spec.minReplicas %d and spec.maxReplicas %d; change these fields to allow it", request.Replicas, lowest, highest))
	case request.Replicas > r.MaxReplicasPerServer:
		r.RecordEvent(server, corev1.EventTypeWarning, "ScalingRejected", fmt.Sprintf(
			"the scheduler requests %d replicas, and the operator's --max-replicas-per-server allows %d; raise the flag, or lower spec.maxReplicas to that number", request.Replicas, r.MaxReplicasPerServer))
	default:
		if err := r.applyReplicas(ctx, server, request.Replicas); err != nil {
			return err
		}
	}
	r.relay.AckScaling(client.ObjectKeyFromObject(server), request)
	return nil //nolint:nilerr // that of Bounds is in the Server's status
}

func (r *serverReconciler) applyReplicas(ctx context.Context, server *v1alpha1.Server, replicas int64) error {
	// The cache has only the managedFields of the engine.
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
	if err := r.apiReader.Get(ctx, client.ObjectKeyFromObject(server), live); err != nil {
		return fmt.Errorf("get Server: %w", err)
	}
	if manager := scaleSubresourceManager(live.ManagedFields); manager != "" {
		r.RecordEvent(server, corev1.EventTypeNormal, "ScalingIgnored", fmt.Sprintf(
			"the scheduler requests %d replicas, which are not set, because %s has set spec.replicas through the scale subresource and takes precedence; to let the scheduler scale the Server, remove that autoscaler and set spec.replicas in the Server itself", replicas, manager))
		return nil
	}
	applyConfig := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": server.Name, "namespace": server.Namespace, "uid": string(server.UID)},
		"spec":     map[string]any{"replicas": replicas},
	}}
	applyConfig.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
	err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applyConfig), client.FieldOwner(scalingManager), client.ForceOwnership)
	if err != nil {
		if reconciler.IsRejection(err) {
			r.RecordEvent(server, corev1.EventTypeWarning, "ScalingFailed", fmt.Sprintf(
				"the API server rejects %d replicas, which the scheduler requests: %v", replicas, err))
		}
		return fmt.Errorf("apply %d replicas: %w", replicas, err)
	}
	r.RecordEvent(server, corev1.EventTypeNormal, "Scaled", fmt.Sprintf("scaled the Server to %d replicas, as the scheduler requested", replicas))
	return nil
}

// scaleSubresourceManager returns the field manager that set spec.replicas through the
// scale subresource, if that is how it was set last; empty otherwise.
func scaleSubresourceManager(managed []metav1.ManagedFieldsEntry) string {
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
