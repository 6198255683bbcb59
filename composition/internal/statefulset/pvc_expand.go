package statefulset

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// expandPVCs expands the claims of step's StatefulSet to the sizes of its desired templates. It
// returns a [*plan.ImmutableFieldError] and expands none if one of them cannot be expanded.
func (r *Recreator) expandPVCs(ctx context.Context, step plan.Step) error {
	expansions, err := r.pvcsToExpand(ctx, step)
	if err != nil {
		return err
	}
	for _, options := range [][]client.PatchOption{{client.DryRunAll}, nil} {
		if err := r.patchPVCs(ctx, expansions, options...); err != nil {
			return err
		}
	}
	return nil
}

// Check returns a [*plan.ImmutableFieldError] if a claim of step's StatefulSet cannot be
// expanded. It makes dry-runs, and writes nothing.
func (r *Recreator) Check(ctx context.Context, step plan.Step) error {
	expansions, err := r.pvcsToExpand(ctx, step)
	if err != nil {
		return err
	}
	return r.patchPVCs(ctx, expansions, client.DryRunAll)
}

// patchPVCs sets the sizes of claims. It returns a [*plan.ImmutableFieldError] if the API
// server rejects one.
func (r *Recreator) patchPVCs(ctx context.Context, expansions []pvcExpansion, options ...client.PatchOption) error {
	for _, claim := range expansions {
		patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil,
			`{"spec":{"resources":{"requests":{"storage":%q}}}}`, claim.to.String()))
		err := r.Cluster.Client.Patch(ctx, claim.object.DeepCopy(), patch, append(options, client.FieldOwner(r.Cluster.Options.FieldManager))...)
		switch {
		case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
			return &plan.ImmutableFieldError{
				Field: "spec.volumeClaimTemplates", Live: claim.from.String(),
				Desired: fmt.Sprintf("%s (PersistentVolumeClaim %s cannot be expanded: %v)", claim.to.String(), claim.object.Name, apiStatusMessage(err)),
				Err:     err,
			}
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("expand PersistentVolumeClaim %s/%s: %w", claim.object.Namespace, claim.object.Name, err)
		}
	}
	return nil
}

// pvcExpansion is a claim to expand.
type pvcExpansion struct {
	object   *corev1.PersistentVolumeClaim
	from, to resource.Quantity
}

// pvcsToExpand returns the claims of step's StatefulSet that are smaller than their desired
// templates.
func (r *Recreator) pvcsToExpand(ctx context.Context, step plan.Step) ([]pvcExpansion, error) {
	claims := &corev1.PersistentVolumeClaimList{}
	if err := r.Cluster.APIReader.List(ctx, claims, client.InNamespace(step.Ref.Namespace)); err != nil {
		return nil, fmt.Errorf("list the volume claims of %s: %w", step.Ref, err)
	}
	templates := plan.ClaimTemplatesByName(step.Object)
	var expansions []pvcExpansion
	for i := range claims.Items {
		claim := &claims.Items[i]
		// <template>-<StatefulSet>-<ordinal>
		prefix, ordinal := cutAtLast(claim.Name, "-")
		template, found := strings.CutSuffix(prefix, "-"+step.Ref.Name)
		if _, err := strconv.ParseUint(ordinal, 10, 31); err != nil || !found || claim.DeletionTimestamp != nil {
			continue
		}
		size, request := plan.StorageRequestOf(templates[template]), claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if size != nil && request.Cmp(*size) < 0 {
			expansions = append(expansions, pvcExpansion{object: claim, from: request, to: *size})
		}
	}
	return expansions, nil
}

// cutAtLast returns the text before and after the last separator; all is after if there is none.
func cutAtLast(text, separator string) (before, after string) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+len(separator):]
}

// apiStatusMessage returns the API server's own message, which has the name of the object once
// and no parts that differ between attempts.
func apiStatusMessage(err error) string {
	if status, isStatus := err.(apierrors.APIStatus); isStatus {
		return status.Status().Message
	}
	return err.Error()
}
