// Package status reads the status of custom resources for tests.
package status

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Object is an object with conditions.
type Object interface {
	client.Object
	GetConditions() []metav1.Condition
}

// Ready gets object and returns status, reason and message of its condition Ready,
// "outdated" if that is missing or about an earlier generation, or the text of an error.
func Ready(ctx context.Context, reader client.Reader, object Object) string {
	if err := reader.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return err.Error()
	}
	found := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady)
	if found == nil || found.ObservedGeneration < object.GetGeneration() {
		return "outdated"
	}
	return fmt.Sprintf("%s %s %s", found.Status, found.Reason, found.Message)
}
