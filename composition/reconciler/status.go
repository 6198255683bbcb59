package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patchStatus writes the status of object if it differs from that of before, and
// records Events for conditions that changed. An object that does not exist is not an
// error.
func (b *Base) patchStatus(ctx context.Context, before, object Object) error {
	// Finalizers may have been added or removed since.
	before.SetResourceVersion(object.GetResourceVersion())
	before.SetFinalizers(object.GetFinalizers())
	before.SetManagedFields(object.GetManagedFields())
	if equality.Semantic.DeepEqual(before, object) {
		return nil
	}
	patch, err := StatusPatch(object)
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	err = b.Client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(b.FieldManager+"-status"))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if apierrors.IsInvalid(err) {
		// Kubernetes before 1.33 also validates the spec, which may be older than a rule.
		b.RecordEvent(object, corev1.EventTypeWarning, "StatusUpdateRejected", "the status is not written, because the API server rejects the object; correct the fields in its message: "+err.Error())
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	b.writes.recordWrite(object)
	b.recordConditionEvents(before.GetConditions(), object)
	return nil
}

// StatusPatch returns a JSON merge patch of the whole status of object. Keys that are
// absent from a merge patch are not changed (RFC 7386), and the fields of most statuses
// are omitted when they are empty. So numbers are always sent, and any other field that
// would be omitted is null: otherwise a count would never return to zero.
func StatusPatch(object Object) ([]byte, error) {
	status := reflect.ValueOf(object).Elem().FieldByName("Status")
	content := map[string]any{}
	for _, field := range reflect.VisibleFields(status.Type()) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" { // embedded: its fields are visible themselves
			continue
		}
		value := status.FieldByIndex(field.Index)
		omitted := value.IsZero() && !value.CanInt() && slices.Contains(strings.Split(options, ","), "omitempty")
		if content[name] = value.Interface(); omitted {
			content[name] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"status": content})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return patch, nil
}
