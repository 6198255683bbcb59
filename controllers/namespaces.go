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
	// namespaceMemory is how long it is remembered that a namespace is not being
	// deleted: thousands of deleted objects may ask at once.
	namespaceMemory = 5 * time.Second
	// namespacesKept bounds the number of namespaces that are remembered.
	namespacesKept = 1024
)

// namespaces knows which namespaces are being deleted. It reads each by its name: the
// operator may have no right to list or watch them. It is safe for concurrent use, and
// a slow answer about one namespace delays only those who ask about the same one.
type namespaces struct {
	live     client.Reader
	reads    singleflight.Group
	retained *cache.LRUExpireCache // those that were not being deleted
}

func newNamespaces(live client.Reader) *namespaces {
	return &namespaces{live: live, retained: cache.NewLRUExpireCache(namespacesKept)}
}

// goes returns whether a namespace is being deleted, or does not exist.
func (n *namespaces) goes(ctx context.Context, name string) (bool, error) {
	if _, retained := n.retained.Get(name); retained {
		return false, nil
	}
	deleted, err, _ := n.reads.Do(name, func() (any, error) {
		namespace := &corev1.Namespace{}
		err := n.live.Get(ctx, client.ObjectKey{Name: name}, namespace)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("get namespace %s: %w", name, err)
		}
		if namespace.DeletionTimestamp != nil {
			return true, nil
		}
		n.retained.Add(name, true, namespaceMemory)
		return false, nil
	})
	return deleted.(bool), err
}
