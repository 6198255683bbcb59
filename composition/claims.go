package composition

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var storageRequest = []string{"spec", "resources", "requests", "storage"}

// claimsOnlyGrow tells whether the claim templates of desired and live differ in
// nothing but requests for storage, none of which shrinks.
func claimsOnlyGrow(desired, live *unstructured.Unstructured) bool {
	wanted, actual := claimsByName(desired), claimsByName(live)
	if len(wanted) != len(actual) {
		return false
	}
	for name, claim := range wanted {
		current, found := actual[name]
		if !found {
			return false
		}
		size, request := storageOf(claim), storageOf(current)
		if size == nil || request == nil || size.Cmp(*request) < 0 {
			return false
		}
		same := (&unstructured.Unstructured{Object: claim}).DeepCopy().Object
		_ = unstructured.SetNestedField(same, request.String(), storageRequest...)
		if _, contained := containedIn(same, current, ""); !contained {
			return false
		}
	}
	return true
}

// claimsByName are the claim templates of a StatefulSet.
func claimsByName(set *unstructured.Unstructured) map[string]map[string]any {
	templates, _, _ := unstructured.NestedFieldNoCopy(set.Object, claimTemplates...)
	claims := map[string]map[string]any{}
	for _, template := range withoutTypes(templates).([]any) {
		claim, _ := template.(map[string]any)
		name, _, _ := unstructured.NestedString(claim, "metadata", "name")
		claims[name] = claim
	}
	return claims
}

// storageOf is what a claim asks for; nil if it does not say.
func storageOf(claim map[string]any) *resource.Quantity {
	value, _, _ := unstructured.NestedFieldNoCopy(claim, storageRequest...)
	return quantity(value)
}

// growClaims grows the claims of a step's StatefulSet. A claim that may not grow
// gives a [*MismatchError], and then nothing was changed.
func (e *Engine) growClaims(ctx context.Context, step Step) error {
	grown, err := e.claimsToGrow(ctx, step)
	if err != nil {
		return err
	}
	for _, options := range [][]client.PatchOption{{client.DryRunAll}, nil} {
		for _, claim := range grown {
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil,
				`{"spec":{"resources":{"requests":{"storage":%q}}}}`, claim.to.String()))
			err := e.Client.Patch(ctx, claim.object.DeepCopy(), patch, append(options, client.FieldOwner(e.Options.FieldManager))...)
			switch {
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
				return &ImmutableFieldError{
					Field: "spec.volumeClaimTemplates", Live: claim.from.String(),
					Desired: fmt.Sprintf("%s (PersistentVolumeClaim %s cannot grow: %v)", claim.to.String(), claim.object.Name, reasonOf(err)),
				}
			case err != nil && !apierrors.IsNotFound(err):
				return fmt.Errorf("grow PersistentVolumeClaim %s/%s: %w", claim.object.Namespace, claim.object.Name, err)
			}
		}
	}
	return nil
}

// growth is a claim that has to grow.
type growth struct {
	object   *corev1.PersistentVolumeClaim
	from, to resource.Quantity
}

// claimsToGrow lists the claims made from the templates of step's StatefulSet
// that are smaller than wanted.
func (e *Engine) claimsToGrow(ctx context.Context, step Step) ([]growth, error) {
	claims := &corev1.PersistentVolumeClaimList{}
	if err := e.APIReader.List(ctx, claims, client.InNamespace(step.Ref.Namespace)); err != nil {
		return nil, fmt.Errorf("list the volume claims of %s: %w", step.Ref, err)
	}
	templates := claimsByName(step.Object)
	var grown []growth
	for i := range claims.Items {
		claim := &claims.Items[i]
		// <template>-<StatefulSet>-<ordinal>
		of, ordinal := cutLast(claim.Name, "-")
		template, ours := strings.CutSuffix(of, "-"+step.Ref.Name)
		if _, err := strconv.ParseUint(ordinal, 10, 31); err != nil || !ours || claim.DeletionTimestamp != nil {
			continue
		}
		size, request := storageOf(templates[template]), claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if size != nil && request.Cmp(*size) < 0 {
			grown = append(grown, growth{object: claim, from: request, to: *size})
		}
	}
	return grown, nil
}

// cutLast cuts text around the last separator.
func cutLast(text, separator string) (before, after string) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+len(separator):]
}

// reasonOf is the API server's own message, which names the object once and
// holds nothing that changes from try to try.
func reasonOf(err error) string {
	if status, isStatus := err.(apierrors.APIStatus); isStatus {
		return status.Status().Message
	}
	return err.Error()
}
