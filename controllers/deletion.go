package controllers

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// usersKinds are what users make in a runtime's namespace, in the order in which
// a cascading deletion takes them: what refers before what is referred to.
func usersKinds() []client.ObjectList {
	return []client.ObjectList{
		&v1alpha1.ExperimentList{}, &v1alpha1.PipelineList{}, &v1alpha1.ModelList{}, &v1alpha1.ServerList{},
	}
}

// usersObjects deals with what users made in the namespace of a runtime that is
// being deleted, as its deletion policy says, and names what has to go first.
// With Retain, the default, that is nothing; Block waits for all of it; Cascade
// deletes it, one kind after the other.
func (r *seldonRuntimeReconciler) usersObjects(ctx context.Context, runtime *v1alpha1.SeldonRuntime) ([]string, error) {
	policy := runtime.Spec.DeletionPolicy
	if policy != v1alpha1.DeletionPolicyBlock && policy != v1alpha1.DeletionPolicyCascade {
		return nil, nil
	}
	var waiting []string
	for _, list := range usersKinds() {
		if err := r.client.List(ctx, list, client.InNamespace(runtime.Namespace)); err != nil {
			return nil, fmt.Errorf("list what users made: %w", err)
		}
		var objects []client.Object
		eachItem(list, func(object client.Object) {
			if !metav1.IsControlledBy(object, runtime) {
				objects = append(objects, object)
			}
		})
		for _, object := range objects {
			gvk, err := r.client.GroupVersionKindFor(object)
			if err != nil {
				return nil, err
			}
			waiting = append(waiting, gvk.Kind+" "+object.GetName())
			if policy == v1alpha1.DeletionPolicyCascade && object.GetDeletionTimestamp() == nil {
				if err := client.IgnoreNotFound(r.client.Delete(ctx, object)); err != nil {
					return nil, fmt.Errorf("delete %s %s/%s: %w", gvk.Kind, object.GetNamespace(), object.GetName(), err)
				}
			}
		}
		if policy == v1alpha1.DeletionPolicyCascade && len(waiting) > 0 {
			return waiting, nil
		}
	}
	return waiting, nil
}
