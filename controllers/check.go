package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// checkInterval is shorter than the interval at which a leader renews its lease.
const checkInterval = time.Second

// Check waits until an operator works: its Deployment has a ready pod, and one of its
// pods is the leader. It returns the leader's identity, which begins with the name of its
// pod. The context limits the wait; the error then contains why the operator was not
// ready last. A missing permission ends the wait.
func Check(ctx context.Context, c client.Reader, deployment, lease client.ObjectKey) (leader string, err error) {
	var (
		notReady = "the API server has not responded"
		// A lease may be from an operator that does not run any more. Clocks may differ, so
		// the lease must be renewed during the wait.
		lastRenewTime *metav1.MicroTime
	)
	err = wait.PollUntilContextCancel(ctx, checkInterval, true, func(ctx context.Context) (bool, error) {
		operator := &appsv1.Deployment{}
		if err := c.Get(ctx, deployment, operator); err != nil {
			if ctx.Err() == nil {
				notReady = fmt.Sprintf("get Deployment %s: %v", deployment, err)
			}
			return false, onlyForbidden(err)
		}
		if status := operator.Status; status.ReadyReplicas == 0 || status.ObservedGeneration < operator.Generation {
			notReady = fmt.Sprintf("Deployment %s has no ready pod: see kubectl describe and the pods' logs", deployment)
			return false, nil
		}
		current := &coordinationv1.Lease{}
		if err := c.Get(ctx, lease, current); client.IgnoreNotFound(err) != nil {
			if ctx.Err() == nil {
				notReady = fmt.Sprintf("get Lease %s: %v", lease, err)
			}
			return false, onlyForbidden(err)
		}
		if current.Spec.HolderIdentity == nil || *current.Spec.HolderIdentity == "" || current.Spec.RenewTime == nil {
			notReady = fmt.Sprintf("Lease %s has no holder: see the pods' logs", lease)
			return false, nil
		}
		leader = *current.Spec.HolderIdentity
		if lastRenewTime == nil || lastRenewTime.Equal(current.Spec.RenewTime) {
			lastRenewTime = current.Spec.RenewTime
			notReady = fmt.Sprintf("Lease %s is held by %s, which does not renew it: see the pods' logs", lease, leader)
			return false, nil
		}
		return true, nil
	})
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", notReady, err)
	}
	return leader, err
}

// onlyForbidden returns err if waiting does not help against it, and nil otherwise.
func onlyForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	return nil
}
