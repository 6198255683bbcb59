package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watch keeps up with the objects of the picture. Looking at it costs no
// requests.
type watch struct {
	cache   cache.Cache
	runtime client.ObjectKey
	// lifetime ends with stop.
	lifetime context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// watchedKinds are all that the picture may show, and what links them.
func watchedKinds() []schema.GroupVersionKind {
	kinds := []schema.GroupVersionKind{runtimeKind, replicaSetKind, podKind}
	for _, g := range groups {
		kinds = append(kinds, g.kinds...)
	}
	return kinds
}

// watchTimeout bounds the first listing of all kinds.
const watchTimeout = 30 * time.Second

// startWatch watches the named runtime and everything in its namespace that may
// belong to it. It returns when all that exists is known.
func startWatch(ctx context.Context, config *rest.Config, runtime client.ObjectKey) (*watch, error) {
	objects, err := cache.New(config, cache.Options{
		DefaultNamespaces: map[string]cache.Config{runtime.Namespace: {}},
		DefaultTransform:  cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("watch namespace %s: %w", runtime.Namespace, err)
	}
	w := &watch{cache: objects, runtime: runtime}
	// It goes on beyond the stage that starts it.
	w.lifetime, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.running.Go(func() { _ = objects.Start(w.lifetime) }) // it has no errors of its own

	listing, done := context.WithTimeout(ctx, watchTimeout)
	defer done()
	for _, kind := range watchedKinds() {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(kind)
		if _, err := objects.GetInformer(listing, object); err != nil {
			w.stop()
			return nil, fmt.Errorf("watch %ss in namespace %s: %w", kind.Kind, runtime.Namespace, err)
		}
	}
	return w, nil
}

// stop ends the watch; tree must not be called any more.
func (w *watch) stop() {
	w.cancel()
	w.running.Wait()
}

// shows tells whether the picture has an object at least as new as it was written.
func (w *watch) shows(written *unstructured.Unstructured) bool {
	known := &unstructured.Unstructured{}
	known.SetGroupVersionKind(written.GroupVersionKind())
	err := w.cache.Get(w.lifetime, client.ObjectKeyFromObject(written), known)
	return err == nil && known.GetUID() == written.GetUID() && known.GetGeneration() >= written.GetGeneration()
}

// tree is the tree of the runtime as it is now.
func (w *watch) tree() *node {
	var objects []*unstructured.Unstructured
	for _, kind := range watchedKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		// Listing from a cache that has synced does not fail.
		_ = w.cache.List(w.lifetime, list, client.InNamespace(w.runtime.Namespace))
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
	return buildTree(w.runtime.Name, objects)
}
