// Package status reads, for tests, what custom resources say of themselves.
package status

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Object has conditions.
type Object interface {
	client.Object
	GetConditions() []metav1.Condition
}

// Ready gets object and tells its condition Ready: status, reason and message, or
// "old" if it does not speak of the newest generation. An error is told as it is.
func Ready(ctx context.Context, reader client.Reader, object Object) string {
	if err := reader.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return err.Error()
	}
	found := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady)
	if found == nil || found.ObservedGeneration < object.GetGeneration() {
		return "old"
	}
	return fmt.Sprintf("%s %s %s", found.Status, found.Reason, found.Message)
}
