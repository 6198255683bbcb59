package preview

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// fieldManager is that of dry-runs of objects that no server-side apply has written.
const fieldManager = "kubectl-seldon"

// lastApplied is the annotation of kubectl apply.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// InvalidError is the error of a proposed object that the API server rejects.
type InvalidError struct{ error }

// Unwrap returns the rejection.
func (e *InvalidError) Unwrap() error { return e.error }

// propose returns the object that a file describes as the API server would store it: the
// result of a dry-run of the way in which the live object was applied before, which is
// server-side apply by the same field manager, or kubectl apply. unverified: the dry-run is
// not permitted, and the object is computed in memory, without defaults.
func (p *Planner) propose(ctx context.Context, file *unstructured.Unstructured) (proposed *unstructured.Unstructured, unverified bool, err error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(file.GroupVersionKind())
	err = p.Snapshot.Client.Get(ctx, client.ObjectKeyFromObject(file), live)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		live = nil
	case err != nil:
		return nil, false, err
	}
	sent := file.DeepCopy()
	sent.SetResourceVersion("")
	sent.SetManagedFields(nil)
	unstructured.RemoveNestedField(sent.Object, "status")
	if live == nil || appliedBy(live) != "" {
		manager := fieldManager
		if live != nil {
			manager = appliedBy(live)
		}
		result := sent.DeepCopy()
		err = p.Snapshot.Apply(ctx, client.ApplyConfigurationFromUnstructured(result), client.FieldOwner(manager), client.ForceOwnership)
		if err == nil {
			return result, false, nil
		}
	} else {
		var patch []byte
		if patch, err = threeWayPatch(sent, live); err != nil {
			return nil, false, err
		}
		result := live.DeepCopy()
		if err = p.Snapshot.Patch(ctx, result, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager)); err == nil {
			return result, false, nil
		}
	}
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return nil, false, &InvalidError{fmt.Errorf("the API server rejects %s %s: %w", file.GetKind(), client.ObjectKeyFromObject(file), err)}
	}
	if !apierrors.IsForbidden(err) {
		return nil, false, fmt.Errorf("propose %s %s: %w", file.GetKind(), client.ObjectKeyFromObject(file), err)
	}
	// Without the API server's defaults, those of the CRDs' schemas are set.
	manifest.SetDefaults(sent)
	if live == nil {
		return sent, true, nil
	}
	result := live.DeepCopy()
	result.Object["spec"] = sent.Object["spec"]
	result.SetLabels(merged(live.GetLabels(), sent.GetLabels()))
	result.SetAnnotations(merged(live.GetAnnotations(), sent.GetAnnotations()))
	return result, true, nil
}

// appliedBy returns the field manager that applied the spec of an object by server-side
// apply; empty if there is none.
func appliedBy(live *unstructured.Unstructured) string {
	for _, entry := range live.GetManagedFields() {
		if entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil && fields["f:spec"] != nil && !isOperators(entry.Manager) {
			return entry.Manager
		}
	}
	return ""
}

// threeWayPatch returns the patch that kubectl apply would send.
func threeWayPatch(sent, live *unstructured.Unstructured) ([]byte, error) {
	desired, err := json.Marshal(sent)
	if err != nil {
		return nil, err
	}
	current, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	original := []byte(live.GetAnnotations()[lastApplied])
	if len(original) == 0 {
		// kubectl replace and other clients that update the whole object.
		updated, err := updatedFields(live)
		if err != nil {
			return nil, err
		}
		if original, err = json.Marshal(updated); err != nil {
			return nil, err
		}
	}
	return jsonmergepatch.CreateThreeWayJSONMergePatch(original, desired, current)
}

// updatedFields returns the spec of an object as far as it was set by updates and not by
// server-side apply.
func updatedFields(live *unstructured.Unstructured) (map[string]any, error) {
	updated := fieldpath.NewSet()
	for _, entry := range live.GetManagedFields() {
		if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("read managedFields: %w", err)
		}
		updated = updated.Union(fields)
	}
	value, err := typed.DeducedParseableType.FromUnstructured(live.Object)
	if err != nil {
		return nil, err
	}
	extracted, _ := value.ExtractItems(updated.Leaves()).AsValue().Unstructured().(map[string]any)
	return map[string]any{"spec": extracted["spec"]}, nil
}

// isOperators reports whether a field manager is one of the operator.
func isOperators(manager string) bool { return strings.HasPrefix(manager, inputs.FieldManager) }

func merged(lower, upper map[string]string) map[string]string {
	result := map[string]string{}
	for _, layer := range []map[string]string{lower, upper} {
		maps.Copy(result, layer)
	}
	return result
}
