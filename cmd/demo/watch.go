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

// watch has the current objects of the tree in a cache.
type watch struct {
	cache   cache.Cache
	runtime client.ObjectKey
	// ctx is cancelled by stop.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// watchedKinds returns the kinds in the tree, and those that link them.
func watchedKinds() []schema.GroupVersionKind {
	kinds := []schema.GroupVersionKind{runtimeKind, replicaSetKind, podKind}
	for _, g := range groups {
		kinds = append(kinds, g.kinds...)
	}
	return kinds
}

// watchTimeout is the timeout of the initial list of all kinds.
const watchTimeout = 30 * time.Second

// startWatch watches a runtime and everything in its namespace that may belong to it. It
// returns after the initial list.
func startWatch(ctx context.Context, config *rest.Config, runtime client.ObjectKey) (*watch, error) {
	objects, err := cache.New(config, cache.Options{
		DefaultNamespaces: map[string]cache.Config{runtime.Namespace: {}},
		DefaultTransform:  cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("watch namespace %s: %w", runtime.Namespace, err)
	}
	w := &watch{cache: objects, runtime: runtime}
	// It must not end with the step that starts it.
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.running.Go(func() { _ = objects.Start(w.ctx) }) // it returns no errors

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

// stop stops the watch. tree must not be called afterwards.
func (w *watch) stop() {
	w.cancel()
	w.running.Wait()
}

// shows returns whether the watch has an object at least as new as the written one.
func (w *watch) shows(written *unstructured.Unstructured) bool {
	known := &unstructured.Unstructured{}
	known.SetGroupVersionKind(written.GroupVersionKind())
	err := w.cache.Get(w.ctx, client.ObjectKeyFromObject(written), known)
	return err == nil && known.GetUID() == written.GetUID() && known.GetGeneration() >= written.GetGeneration()
}

// tree returns the current tree of the runtime.
func (w *watch) tree() *node {
	var objects []*unstructured.Unstructured
	for _, kind := range watchedKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		// Listing from a cache that has synced does not fail.
		_ = w.cache.List(w.ctx, list, client.InNamespace(w.runtime.Namespace))
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
	return buildTree(w.runtime.Name, objects)
}
