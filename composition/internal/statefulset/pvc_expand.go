package statefulset

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/plan"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// growClaims grows the claims of a step's StatefulSet. A claim that may not grow
// gives a [*MismatchError], and then nothing was changed.
func (r *Recreator) expandPVCs(ctx context.Context, step plan.Step) error {
	grown, err := r.pvcsToExpand(ctx, step)
	if err != nil {
		return err
	}
	for _, options := range [][]client.PatchOption{{client.DryRunAll}, nil} {
		for _, claim := range grown {
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil,
				`{"spec":{"resources":{"requests":{"storage":%q}}}}`, claim.to.String()))
			err := r.Cluster.Client.Patch(ctx, claim.object.DeepCopy(), patch, append(options, client.FieldOwner(r.Cluster.Options.FieldManager))...)
			switch {
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
				return &plan.ImmutableFieldError{
					Field: "spec.volumeClaimTemplates", Live: claim.from.String(),
					Desired: fmt.Sprintf("%s (PersistentVolumeClaim %s cannot grow: %v)", claim.to.String(), claim.object.Name, apiStatusMessage(err)),
				}
			case err != nil && !apierrors.IsNotFound(err):
				return fmt.Errorf("grow PersistentVolumeClaim %s/%s: %w", claim.object.Namespace, claim.object.Name, err)
			}
		}
	}
	return nil
}

// pvcExpansion is a claim that has to grow.
type pvcExpansion struct {
	object   *corev1.PersistentVolumeClaim
	from, to resource.Quantity
}

// claimsToGrow lists the claims made from the templates of step's StatefulSet
// that are smaller than wanted.
func (r *Recreator) pvcsToExpand(ctx context.Context, step plan.Step) ([]pvcExpansion, error) {
	claims := &corev1.PersistentVolumeClaimList{}
	if err := r.Cluster.APIReader.List(ctx, claims, client.InNamespace(step.Ref.Namespace)); err != nil {
		return nil, fmt.Errorf("list the volume claims of %s: %w", step.Ref, err)
	}
	templates := plan.ClaimTemplatesByName(step.Object)
	var grown []pvcExpansion
	for i := range claims.Items {
		claim := &claims.Items[i]
		// <template>-<StatefulSet>-<ordinal>
		of, ordinal := cutAtLast(claim.Name, "-")
		template, ours := strings.CutSuffix(of, "-"+step.Ref.Name)
		if _, err := strconv.ParseUint(ordinal, 10, 31); err != nil || !ours || claim.DeletionTimestamp != nil {
			continue
		}
		size, request := plan.StorageRequestOf(templates[template]), claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if size != nil && request.Cmp(*size) < 0 {
			grown = append(grown, pvcExpansion{object: claim, from: request, to: *size})
		}
	}
	return grown, nil
}

// cutLast cuts text around the last separator.
func cutAtLast(text, separator string) (before, after string) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+len(separator):]
}

// reasonOf is the API server's own message, which names the object once and
// holds nothing that changes from try to try.
func apiStatusMessage(err error) string {
	if status, isStatus := err.(apierrors.APIStatus); isStatus {
		return status.Status().Message
	}
	return err.Error()
}
