package controllers

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// slowReader returns the namespace "slow" only after respond is closed.
type slowReader struct {
	client.Reader
	respond chan struct{}
	reads   atomic.Int32
}

func (r *slowReader) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	r.reads.Add(1)
	switch key.Name {
	case "slow":
		<-r.respond
	case "deleted":
		object.SetDeletionTimestamp(&metav1.Time{Time: time.Now()})
	case "absent":
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	case "broken":
		return apierrors.NewServiceUnavailable("no etcd")
	}
	return nil
}

// A namespace that is read slowly is read once, and does not delay others.
func TestNamespacesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &slowReader{respond: make(chan struct{})}
		known := newNamespaces(reader)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if terminating, err := known.isTerminating(t.Context(), "slow"); terminating || err != nil {
					t.Errorf("slow: %t, %v", terminating, err)
				}
			})
		}
		synctest.Wait()
		for name, want := range map[string]bool{"fast": false, "deleted": true, "absent": true} {
			if terminating, err := known.isTerminating(t.Context(), name); terminating != want || err != nil {
				t.Errorf("%s: %t, %v", name, terminating, err)
			}
		}
		if _, err := known.isTerminating(t.Context(), "broken"); err == nil {
			t.Error("an error is not returned")
		}
		close(reader.respond)
		group.Wait()
		if reads := reader.reads.Load(); reads != 5 {
			t.Errorf("%d reads of 5 namespaces", reads)
		}
		if _, err := known.isTerminating(t.Context(), "slow"); err != nil || reader.reads.Load() != 5 {
			t.Errorf("a cached namespace is read again, %v", err)
		}
		time.Sleep(namespaceTTL + time.Second)
		if _, err := known.isTerminating(t.Context(), "slow"); err != nil || reader.reads.Load() != 6 {
			t.Errorf("a namespace is not read again after the TTL, %v", err)
		}
	})
}
