package controllers

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// namespaceTTL is how long it is cached that a namespace is not terminating:
	// thousands of deleted objects may need to know at once.
	namespaceTTL = 5 * time.Second
	// namespaceCacheSize is the maximum number of cached namespaces.
	namespaceCacheSize = 1024
)

// namespaces reports which namespaces are terminating. It reads each by its name: the
// operator may not have the permission to list or watch them. It is safe for concurrent use.
// Concurrent calls for the same namespace share one request; others do not wait for it.
type namespaces struct {
	apiReader client.Reader
	reads     singleflight.Group
	active    *cache.LRUExpireCache // names
}

func newNamespaces(apiReader client.Reader) *namespaces {
	return &namespaces{apiReader: apiReader, active: cache.NewLRUExpireCache(namespaceCacheSize)}
}

// isTerminating reports whether a namespace is being deleted, or does not exist.
func (n *namespaces) isTerminating(ctx context.Context, name string) (bool, error) {
	if _, active := n.active.Get(name); active {
		return false, nil
	}
	terminating, err, _ := n.reads.Do(name, func() (any, error) {
		namespace := &corev1.Namespace{}
		err := n.apiReader.Get(ctx, client.ObjectKey{Name: name}, namespace)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("get namespace %s: %w", name, err)
		}
		if namespace.DeletionTimestamp != nil {
			return true, nil
		}
		n.active.Add(name, true, namespaceTTL)
		return false, nil
	})
	return terminating.(bool), err
}
