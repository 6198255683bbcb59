// Package tolerant reads nothing where RBAC does not permit to read.
package tolerant

import (
	"context"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Reader reads as if what may not be read did not exist, and records the error. For
// SeldonConfigs and ServerConfigs, without which nothing can be rendered, it returns the
// error. It is safe for concurrent use.
type Reader struct {
	client.Reader
	mu     sync.Mutex
	denied []string
}

// Get implements [client.Reader].
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, into, options...)
	if !apierrors.IsForbidden(err) {
		return err
	}
	switch into.(type) {
	case *v1alpha1.SeldonConfig, *v1alpha1.ServerConfig:
		return err
	}
	r.deny(err)
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// List implements [client.Reader].
func (r *Reader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	err := r.Reader.List(ctx, list, options...)
	if apierrors.IsForbidden(err) {
		r.deny(err)
		return nil
	}
	return err
}

// Denied lists the errors of the reads that are not permitted, each once.
func (r *Reader) Denied() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.denied))
}

func (r *Reader) deny(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := err.Error(); !slices.Contains(r.denied, text) {
		r.denied = append(r.denied, text)
	}
}
