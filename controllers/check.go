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

// checkPoll is less than how often a leader renews its lease.
const checkPoll = time.Second

// Check waits until an operator works: its Deployment is ready, and one of its pods
// leads. It returns the leader's identity, which begins with its pod's name. The
// context bounds the wait; the error then says what was missing at last. A right
// that is missing ends the wait.
func Check(ctx context.Context, to client.Reader, deployment, lease client.ObjectKey) (leader string, err error) {
	var (
		missing = "the API server has not answered"
		// A lease may be left from an operator that is gone. Its clock may be
		// another than ours, so it has to be renewed before our eyes.
		seen *metav1.MicroTime
	)
	err = wait.PollUntilContextCancel(ctx, checkPoll, true, func(ctx context.Context) (bool, error) {
		operator := &appsv1.Deployment{}
		if err := to.Get(ctx, deployment, operator); err != nil {
			if ctx.Err() == nil {
				missing = fmt.Sprintf("get Deployment %s: %v", deployment, err)
			}
			return false, forbidden(err)
		}
		if status := operator.Status; status.ReadyReplicas == 0 || status.ObservedGeneration < operator.Generation {
			missing = fmt.Sprintf("Deployment %s has no ready pod: see kubectl describe and the pods' logs", deployment)
			return false, nil
		}
		held := &coordinationv1.Lease{}
		if err := to.Get(ctx, lease, held); client.IgnoreNotFound(err) != nil {
			if ctx.Err() == nil {
				missing = fmt.Sprintf("get Lease %s: %v", lease, err)
			}
			return false, forbidden(err)
		}
		if held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity == "" || held.Spec.RenewTime == nil {
			missing = fmt.Sprintf("nobody holds Lease %s: see the pods' logs", lease)
			return false, nil
		}
		leader = *held.Spec.HolderIdentity
		if seen == nil || seen.Equal(held.Spec.RenewTime) {
			seen = held.Spec.RenewTime
			missing = fmt.Sprintf("Lease %s is held by %s, which does not renew it: see the pods' logs", lease, leader)
			return false, nil
		}
		return true, nil
	})
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", missing, err)
	}
	return leader, err
}

// forbidden keeps of errors those that waiting does not mend.
func forbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	return nil
}
