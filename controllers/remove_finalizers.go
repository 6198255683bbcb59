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
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/relay"
)

// RemoveFinalizers removes the operator's finalizers from all objects in namespaces, or
// in all namespaces if none is given, so that no deletion waits for an operator that is
// about to be uninstalled. Nothing is deleted or unloaded. The operator must have been
// stopped before: it would add the finalizers again. onRemoved is called for each object.
// Errors of objects are joined.
func RemoveFinalizers(ctx context.Context, c client.Client, namespaces []string, onRemoved func(kind string, object client.Object)) error {
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	var errs []error
	for _, each := range []struct {
		kind      string
		list      client.ObjectList
		finalizer string
	}{
		{"Experiment", &v1alpha1.ExperimentList{}, relay.Experiment.Finalizer()},
		{"Pipeline", &v1alpha1.PipelineList{}, relay.Pipeline.Finalizer()},
		{"Model", &v1alpha1.ModelList{}, relay.Model.Finalizer()},
		{"SeldonRuntime", &v1alpha1.SeldonRuntimeList{}, v1alpha1.SeldonRuntimeFinalizer},
		{"Server", &v1alpha1.ServerList{}, v1alpha1.ServerFinalizer},
	} {
		base := reconciler.NewBase(v1alpha1.GroupVersion.WithKind(each.kind), reconciler.Options{Client: c, FieldManager: inputs.FieldManager})
		for _, namespace := range namespaces {
			// After a conflict the objects are listed again, into an empty list: decoding into
			// a filled one keeps fields that are absent from the response.
			errs = append(errs, retry.RetryOnConflict(retry.DefaultRetry, func() error {
				list := each.list.DeepCopyObject().(client.ObjectList)
				return removeFinalizerFromAll(ctx, base, each.kind, list, namespace, each.finalizer, onRemoved)
			}))
		}
	}
	return errors.Join(errs...)
}

func removeFinalizerFromAll(ctx context.Context, base *reconciler.Base, kind string, list client.ObjectList, namespace, finalizer string, onRemoved func(string, client.Object)) error {
	err := base.Client.List(ctx, list, client.InNamespace(namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil // the CRDs were deleted, and all objects with them
	}
	if err != nil {
		return fmt.Errorf("list objects with the finalizer %s in namespace %q: %w", finalizer, namespace, err)
	}
	var errs []error
	eachItem(list, func(object client.Object) {
		if !controllerutil.ContainsFinalizer(object, finalizer) {
			return
		}
		if err := base.RemoveFinalizer(ctx, object, finalizer); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", kind, client.ObjectKeyFromObject(object), err))
			return
		}
		onRemoved(kind, object)
	})
	return errors.Join(errs...)
}

// podPollInterval is how often StopDeployment checks whether the pods still exist.
const podPollInterval = 500 * time.Millisecond

// StopDeployment scales a Deployment to 0 and waits until its pods are deleted. The
// Deployment's status does not show that: it does not count terminating pods. found
// reports whether the Deployment exists. The context limits the wait; the error then
// names the pods.
func StopDeployment(ctx context.Context, c client.Client, key client.ObjectKey) (found bool, err error) {
	deployment := &appsv1.Deployment{}
	if err := c.Get(ctx, key, deployment); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return true, fmt.Errorf("selector of Deployment %s: %w", key, err)
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))
	if err := c.Patch(ctx, deployment, patch, client.FieldOwner(uninstallManager)); err != nil {
		return !apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if err := releaseReplicas(ctx, c, key); err != nil {
		return !apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	var remaining []string
	err = wait.PollUntilContextCancel(ctx, podPollInterval, true, func(ctx context.Context) (bool, error) {
		pods := &corev1.PodList{}
		if err := c.List(ctx, pods, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
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
		return true, fmt.Errorf("Deployment %s is scaled to 0, and its pods %s still exist: delete them, then run this again: %w", //nolint:staticcheck // a kind's name
			key, strings.Join(remaining, ", "), err)
	}
	return true, err
}

// releaseReplicas removes the ownership of the replicas, so that the next one to apply
// the Deployment, such as Helm, sets them without a conflict.
func releaseReplicas(ctx context.Context, c client.Client, key client.ObjectKey) error {
	// The Deployment's controller may write at the same time.
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		deployment := &appsv1.Deployment{}
		if err := c.Get(ctx, key, deployment); err != nil {
			return err
		}
		patch := client.MergeFromWithOptions(deployment.DeepCopy(), client.MergeFromWithOptimisticLock{})
		deployment.ManagedFields = slices.DeleteFunc(deployment.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
			return entry.Manager == uninstallManager
		})
		return c.Patch(ctx, deployment, patch)
	})
}
