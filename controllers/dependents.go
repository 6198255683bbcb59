package controllers

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// dependentKinds returns the kinds of objects that users create in a runtime's
// namespace, in the order in which a cascading deletion deletes them: an object that
// refers to others before these.
func dependentKinds() []client.ObjectList {
	return []client.ObjectList{
		&v1alpha1.ExperimentList{}, &v1alpha1.PipelineList{}, &v1alpha1.ModelList{}, &v1alpha1.ServerList{},
	}
}

// dependents returns the names of the users' objects that the deletion of a runtime
// waits for, by its deletion policy: with Retain, the default, none; with Block all;
// with Cascade those of one kind after the other, which it deletes.
func (r *seldonRuntimeReconciler) dependents(ctx context.Context, runtime *v1alpha1.SeldonRuntime) ([]string, error) {
	policy := runtime.Spec.DeletionPolicy
	if policy != v1alpha1.DeletionPolicyBlock && policy != v1alpha1.DeletionPolicyCascade {
		return nil, nil
	}
	var names []string
	for _, list := range dependentKinds() {
		if err := r.client.List(ctx, list, client.InNamespace(runtime.Namespace)); err != nil {
			return nil, fmt.Errorf("list objects of users: %w", err)
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
			names = append(names, gvk.Kind+" "+object.GetName())
			if policy == v1alpha1.DeletionPolicyCascade && object.GetDeletionTimestamp() == nil {
				if err := client.IgnoreNotFound(r.client.Delete(ctx, object)); err != nil {
					return nil, fmt.Errorf("delete %s %s/%s: %w", gvk.Kind, object.GetNamespace(), object.GetName(), err)
				}
			}
		}
		if policy == v1alpha1.DeletionPolicyCascade && len(names) > 0 {
			return names, nil
		}
	}
	return names, nil
}
