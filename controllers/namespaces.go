package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// namespaceMemory is how long it is remembered that a namespace stays: thousands of
// deleted objects may ask at once.
const namespaceMemory = 5 * time.Second

// namespaces tells which namespaces are being deleted. It asks for each by its name:
// the operator may have no right to list or watch them.
type namespaces struct {
	live client.Reader

	mu     sync.Mutex
	stayed map[string]time.Time // when they were last seen not to go
}

func newNamespaces(live client.Reader) *namespaces {
	return &namespaces{live: live, stayed: map[string]time.Time{}}
}

// goes tells whether a namespace is being deleted, or is gone.
func (n *namespaces) goes(ctx context.Context, name string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if seen, known := n.stayed[name]; known && time.Since(seen) < namespaceMemory {
		return false, nil
	}
	delete(n.stayed, name)
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
	n.stayed[name] = time.Now()
	return false, nil
}
