package controllers

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/scheduler"
)

// Release takes the operator's finalizers off everything in the namespaces given,
// or in all if none is, so that nothing waits for an operator that is about to go.
// Nothing is deleted, and nothing is told to schedulers. An operator that still
// runs puts a finalizer back when it next has to do with an object, so it has to
// be stopped first. done is told each object. Errors of objects are joined.
func Release(ctx context.Context, to client.Client, namespaces []string, done func(kind string, object client.Object)) error {
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	finalizers := map[client.ObjectList]string{
		&v1alpha1.ExperimentList{}:    scheduler.Experiment.Finalizer(),
		&v1alpha1.PipelineList{}:      scheduler.Pipeline.Finalizer(),
		&v1alpha1.ModelList{}:         scheduler.Model.Finalizer(),
		&v1alpha1.SeldonRuntimeList{}: v1alpha1.SeldonRuntimeFinalizer,
	}
	var failures []error
	for list, finalizer := range finalizers {
		for _, namespace := range namespaces {
			if err := to.List(ctx, list, client.InNamespace(namespace)); err != nil {
				failures = append(failures, fmt.Errorf("list: %w", err))
				continue
			}
			eachItem(list, func(object client.Object) {
				if err := releaseOne(ctx, to, object, finalizer, done); err != nil {
					failures = append(failures, fmt.Errorf("%s %s: %w", kindOf(object), client.ObjectKeyFromObject(object), err))
				}
			})
		}
	}
	return errors.Join(failures...)
}

func releaseOne(ctx context.Context, to client.Client, object client.Object, finalizer string, done func(string, client.Object)) error {
	env := environment{client: to, versions: newVersions()}
	released := false
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if !controllerutil.ContainsFinalizer(object, finalizer) {
			return nil
		}
		err := env.removeFinalizer(ctx, object, finalizer)
		released = err == nil
		if err != nil {
			if err := to.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return client.IgnoreNotFound(err)
			}
		}
		return err
	})
	if released {
		done(kindOf(object), object)
	}
	return err
}
