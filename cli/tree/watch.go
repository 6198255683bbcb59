package tree

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// watchDebounce is how long changes are collected before they are reported.
	watchDebounce = 100 * time.Millisecond
	// watchRetryInterval is the time before a failed watch or LIST is repeated.
	watchRetryInterval = time.Second
)

// update is a change of the objects of a kind.
type update struct {
	kind    schema.GroupVersionKind
	object  *unstructured.Unstructured
	deleted bool
	// list replaces all objects, if relisted.
	relisted bool
	list     []*unstructured.Unstructured
	// problem with the watch, or nil.
	problem *Problem
}

// Watch follows the changes of the objects by one watch for each kind that could be listed,
// and calls changed after each, at most ten times a second, and after each interval without a
// change if that is not 0. It returns when the context ends, or with the error of changed.
//
// A watch that ends is continued at its last resource version or, if that is too old, after
// another LIST. A forbidden watch is a [Problem].
func (o *Objects) Watch(ctx context.Context, c client.WithWatch, interval time.Duration, changed func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan update)
	for kind, version := range o.versions {
		go watchKind(ctx, c, o.scope, kind, version, updates)
	}
	var idle <-chan time.Time
	if interval > 0 {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		idle = ticker.C
	}
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case change := <-updates:
			o.apply(change)
			if due == nil {
				due = time.After(watchDebounce)
			}
			continue
		case <-due:
			due = nil
		case <-idle:
		}
		if err := changed(); err != nil {
			return err
		}
	}
}

// apply applies an update.
func (o *Objects) apply(u update) {
	switch {
	case u.problem != nil:
		o.problems[u.kind] = *u.problem
	case u.relisted:
		o.replace(u.kind, u.list, "")
	case u.deleted:
		delete(o.byKind[u.kind], client.ObjectKeyFromObject(u.object))
	default:
		o.byKind[u.kind][client.ObjectKeyFromObject(u.object)] = u.object
	}
}

// watchKind sends the changes of a kind until the context ends or the watch is forbidden.
func watchKind(ctx context.Context, c client.WithWatch, scope Scope, kind schema.GroupVersionKind, version string, updates chan<- update) {
	send := func(u update) bool {
		u.kind = kind
		select {
		case updates <- u:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		last, err := watchOnce(ctx, c, scope, kind, version, send)
		version = last
		if isExpired(err) {
			var objects []*unstructured.Unstructured
			if objects, version, err = list(ctx, c, kind, scope.optionsOf(kind)...); err == nil {
				send(update{relisted: true, list: objects})
				continue
			}
			version = last
		}
		if apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
			problem := scope.problem("watch", kind, err)
			send(update{problem: &problem})
			return
		}
		select {
		case <-time.After(watchRetryInterval):
		case <-ctx.Done():
		}
	}
}

func isExpired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// watchOnce sends the changes of a kind until the watch ends. It returns the last resource
// version that it received.
func watchOnce(ctx context.Context, c client.WithWatch, scope Scope, kind schema.GroupVersionKind, version string, send func(update) bool) (string, error) {
	options := append(scope.optionsOf(kind), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})
	watcher, err := c.Watch(ctx, newList(kind), options...)
	if err != nil {
		return version, err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return version, errors.New("the watch ended")
			}
			if event.Type == watch.Error {
				return version, apierrors.FromObject(event.Object)
			}
			object := toUnstructured(event.Object, kind)
			version = object.GetResourceVersion()
			if event.Type != watch.Bookmark && !send(update{object: object, deleted: event.Type == watch.Deleted}) {
				return version, nil
			}
		}
	}
}
