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

// slowReader answers about the namespace "slow" only when it may.
type slowReader struct {
	client.Reader
	answer chan struct{}
	reads  atomic.Int32
}

func (r *slowReader) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	r.reads.Add(1)
	switch key.Name {
	case "slow":
		<-r.answer
	case "deleted":
		object.SetDeletionTimestamp(&metav1.Time{Time: time.Now()})
	case "absent":
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	case "broken":
		return apierrors.NewServiceUnavailable("no etcd")
	}
	return nil
}

// A namespace whose answer is slow is read once, and delays no other.
func TestNamespacesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &slowReader{answer: make(chan struct{})}
		known := newNamespaces(reader)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if goes, err := known.goes(t.Context(), "slow"); goes || err != nil {
					t.Errorf("slow: %t, %v", goes, err)
				}
			})
		}
		synctest.Wait()
		for name, want := range map[string]bool{"fast": false, "deleted": true, "absent": true} {
			if goes, err := known.goes(t.Context(), name); goes != want || err != nil {
				t.Errorf("%s: %t, %v", name, goes, err)
			}
		}
		if _, err := known.goes(t.Context(), "broken"); err == nil {
			t.Error("an error is not returned")
		}
		close(reader.answer)
		group.Wait()
		if reads := reader.reads.Load(); reads != 5 {
			t.Errorf("%d reads of 5 namespaces", reads)
		}
		if _, err := known.goes(t.Context(), "slow"); err != nil || reader.reads.Load() != 5 {
			t.Errorf("what was just read is read again, %v", err)
		}
		time.Sleep(namespaceMemory + time.Second)
		if _, err := known.goes(t.Context(), "slow"); err != nil || reader.reads.Load() != 6 {
			t.Errorf("what was read long ago is not read again, %v", err)
		}
	})
}
