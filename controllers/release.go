package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
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
	var failures []error
	for _, each := range []struct {
		list      client.ObjectList
		finalizer string
	}{
		{&v1alpha1.ExperimentList{}, relay.Experiment.Finalizer()},
		{&v1alpha1.PipelineList{}, relay.Pipeline.Finalizer()},
		{&v1alpha1.ModelList{}, relay.Model.Finalizer()},
		{&v1alpha1.SeldonRuntimeList{}, v1alpha1.SeldonRuntimeFinalizer},
		{&v1alpha1.ServerList{}, v1alpha1.ServerFinalizer},
	} {
		for _, namespace := range namespaces {
			// What somebody else changes meanwhile is listed again, into an empty list:
			// decoding keeps what it does not find.
			failures = append(failures, retry.RetryOnConflict(retry.DefaultRetry, func() error {
				return releaseAll(ctx, to, each.list.DeepCopyObject().(client.ObjectList), namespace, each.finalizer, done)
			}))
		}
	}
	return errors.Join(failures...)
}

func releaseAll(ctx context.Context, to client.Client, list client.ObjectList, namespace, finalizer string, done func(string, client.Object)) error {
	err := to.List(ctx, list, client.InNamespace(namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil // the CRDs went first, and all objects with them
	}
	if err != nil {
		return fmt.Errorf("list what has the finalizer %s in namespace %q: %w", finalizer, namespace, err)
	}
	env := environment{client: to, versions: newVersions()}
	var failures []error
	eachItem(list, func(object client.Object) {
		if !controllerutil.ContainsFinalizer(object, finalizer) {
			return
		}
		if err := env.removeFinalizer(ctx, object, finalizer); err != nil {
			failures = append(failures, fmt.Errorf("%s %s: %w", kindOf(object), client.ObjectKeyFromObject(object), err))
			return
		}
		done(kindOf(object), object)
	})
	return errors.Join(failures...)
}

// stopPoll is how often is looked whether pods are gone.
const stopPoll = 500 * time.Millisecond

// StopDeployment scales a Deployment to 0 and waits until its pods are gone, which
// is later than its status says: that leaves out those that are ending. It tells
// whether there is such a Deployment. The context bounds the wait; the error then
// names the pods.
func StopDeployment(ctx context.Context, to client.Client, key client.ObjectKey) (found bool, err error) {
	deployment := &appsv1.Deployment{}
	if err := to.Get(ctx, key, deployment); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return true, fmt.Errorf("selector of Deployment %s: %w", key, err)
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))
	if err := to.Patch(ctx, deployment, patch, client.FieldOwner(uninstallManager)); err != nil {
		return !apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if err := disownReplicas(ctx, to, key); err != nil {
		return !apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	var remaining []string
	err = wait.PollUntilContextCancel(ctx, stopPoll, true, func(ctx context.Context) (bool, error) {
		pods := &corev1.PodList{}
		if err := to.List(ctx, pods, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return false, err
		}
		remaining = nil
		for _, pod := range pods.Items {
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				remaining = append(remaining, pod.Name)
			}
		}
		return len(remaining) == 0, nil
	})
	if err != nil && ctx.Err() != nil {
		slices.Sort(remaining)
		return true, fmt.Errorf("Deployment %s is scaled to 0, and its pods %s are still there: delete them, then run this again: %w", //nolint:staticcheck // a kind's name
			key, strings.Join(remaining, ", "), err)
	}
	return true, err
}

// disownReplicas makes the replicas nobody's: whoever applies the Deployment next,
// as Helm does, brings the operator back without a conflict.
func disownReplicas(ctx context.Context, to client.Client, key client.ObjectKey) error {
	// The Deployment's controller writes at the same time.
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		deployment := &appsv1.Deployment{}
		if err := to.Get(ctx, key, deployment); err != nil {
			return err
		}
		patch := client.MergeFromWithOptions(deployment.DeepCopy(), client.MergeFromWithOptimisticLock{})
		deployment.ManagedFields = slices.DeleteFunc(deployment.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
			return entry.Manager == uninstallManager
		})
		return to.Patch(ctx, deployment, patch)
	})
}
