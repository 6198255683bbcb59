package composition

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A StatefulSet's claim templates are immutable, and growing them does not grow
// the claims made from them. So claims grow in four steps, each of which can be
// taken up again after a stop: ask the API server whether every claim may grow,
// grow them all, delete the StatefulSet and leave its pods, make it anew.

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

func claimsByName(set *unstructured.Unstructured) map[string]map[string]any {
	templates, _, _ := unstructured.NestedSlice(set.Object, claimTemplates...)
	claims := make(map[string]map[string]any, len(templates))
	for _, template := range templates {
		claim, _ := template.(map[string]any)
		name, _, _ := unstructured.NestedString(claim, "metadata", "name")
		claims[name] = claim
	}
	return claims
}

func storageOf(claim map[string]any) *resource.Quantity {
	value, _, _ := unstructured.NestedFieldNoCopy(claim, storageRequest...)
	return quantity(value)
}

// growClaims grows the claims of a StatefulSet and deletes it, leaving its pods.
// The next reconcile, when it is gone, makes it anew.
//
// A claim that may not grow gives a [*Mismatch], and then nothing was changed.
func (e *Engine) growClaims(ctx context.Context, step Step) error {
	grown, err := e.claimsToGrow(ctx, step)
	if err != nil {
		return err
	}
	for _, options := range [][]client.PatchOption{{client.DryRunAll}, nil} {
		for _, claim := range grown {
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil,
				`{"spec":{"resources":{"requests":{"storage":%q}}}}`, claim.to.String()))
			err := e.Client.Patch(ctx, claim.object.DeepCopy(), patch, append(options, client.FieldOwner(e.Policy.Manager))...)
			switch {
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
				return &Mismatch{
					Field: "spec.volumeClaimTemplates", Live: claim.from.String(),
					Wanted: fmt.Sprintf("%s (PersistentVolumeClaim %s cannot grow: %v)", claim.to.String(), claim.object.Name, reasonOf(err)),
				}
			case err != nil && !apierrors.IsNotFound(err):
				return fmt.Errorf("grow PersistentVolumeClaim %s/%s: %w", claim.object.Namespace, claim.object.Name, err)
			}
		}
	}
	uid := step.uid()
	err = e.Client.Delete(ctx, step.Live.DeepCopy(),
		client.PropagationPolicy(metav1.DeletePropagationOrphan), client.Preconditions{UID: &uid})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s, leaving its pods: %w", step.Key, err)
	}
	return nil
}

type growth struct {
	object   *corev1.PersistentVolumeClaim
	from, to resource.Quantity
}

// claimsToGrow lists the claims made from the templates of step's StatefulSet
// that are smaller than wanted.
func (e *Engine) claimsToGrow(ctx context.Context, step Step) ([]growth, error) {
	claims := &corev1.PersistentVolumeClaimList{}
	if err := e.Live.List(ctx, claims, client.InNamespace(step.Key.Namespace)); err != nil {
		return nil, fmt.Errorf("list the volume claims of %s: %w", step.Key, err)
	}
	var grown []growth
	for name, template := range claimsByName(step.Object) {
		size := storageOf(template)
		for i := range claims.Items {
			claim := &claims.Items[i]
			ordinal, found := strings.CutPrefix(claim.Name, name+"-"+step.Key.Name+"-")
			if _, err := strconv.Atoi(ordinal); !found || err != nil || size == nil {
				continue
			}
			if request := claim.Spec.Resources.Requests[corev1.ResourceStorage]; request.Cmp(*size) < 0 {
				grown = append(grown, growth{object: claim, from: request, to: *size})
			}
		}
	}
	return grown, nil
}

// reasonOf is the API server's own message, which names the object once and
// holds nothing that changes from try to try.
func reasonOf(err error) string {
	if status, isStatus := err.(apierrors.APIStatus); isStatus {
		return status.Status().Message
	}
	return err.Error()
}

// recreate grows the claims and deletes the StatefulSet around its pods.
func (e *Engine) recreate(ctx context.Context, step Step) result {
	err := e.growClaims(ctx, step)
	if mismatch := (*Mismatch)(nil); errors.As(err, &mismatch) {
		return result{step: step.hold(Blocked, fmt.Sprintf("%s: %v", step.Key, mismatch)), live: step.Live}
	}
	return result{step: step, live: step.Live, wrote: err == nil, err: err}
}
