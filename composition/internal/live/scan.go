package live

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

const (
	// scanPageSize is the number of objects that one request lists.
	scanPageSize = 500
	// scanTTL is how long a listing serves the initial scans of other owners. Objects that
	// are created meanwhile without the owner label are not from the previous operator,
	// which does not run any more.
	scanTTL = 30 * time.Second
	// maxScanned bounds how many objects of a listing are kept for other owners.
	maxScanned = 10000
)

// scans are listings of objects without the owner label, by kind and namespace. After a
// start all owners of a namespace are scanned at about the same time, and share one
// listing of each kind.
type scans struct {
	mu    sync.Mutex
	found map[scanKey]*scan
}

type scanKey struct {
	schema.GroupVersionKind
	namespace string
}

// scan is one listing. Its lock is held while the objects are listed.
type scan struct {
	mu      sync.Mutex
	started time.Time
	stubs   map[object.Ref]*unstructured.Unstructured
}

// unlabelled returns the metadata of the objects of a kind and namespace without the owner
// label. They are shared and must not be changed.
func (r *Reader) unlabelled(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (map[object.Ref]*unstructured.Unstructured, error) {
	one := r.scans.get(scanKey{gvk, namespace}, r.Now())
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.stubs != nil {
		return one.stubs, nil
	}
	stubs, err := r.listUnlabelled(ctx, gvk, namespace)
	if err == nil && len(stubs) <= maxScanned {
		one.stubs = stubs
	}
	return stubs, err
}

// get returns the listing of a key, which is empty if it is new.
func (s *scans) get(key scanKey, now time.Time) *scan {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found == nil {
		s.found = map[scanKey]*scan{}
	}
	if s.found[key] == nil {
		s.found[key] = &scan{started: now}
	}
	return s.found[key]
}

// expire drops listings that are older than scanTTL.
func (s *scans) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.found, func(_ scanKey, one *scan) bool { return now.Sub(one.started) >= scanTTL })
}

// listUnlabelled lists from the API server.
func (r *Reader) listUnlabelled(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (map[object.Ref]*unstructured.Unstructured, error) {
	requirement, err := labels.NewRequirement(r.Cluster.Options.OwnerLabel(), selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("select objects without label %s: %w", r.Cluster.Options.OwnerLabel(), err)
	}
	selector := client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*requirement)}
	stubs := map[object.Ref]*unstructured.Unstructured{}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	for more := true; more; more = list.Continue != "" {
		err := r.Cluster.APIReader.List(ctx, list, client.InNamespace(namespace), selector, client.Limit(scanPageSize), client.Continue(list.Continue))
		if err != nil {
			return nil, fmt.Errorf("list %s objects of %s that are not labelled yet: %w", gvk.Kind, namespace, err)
		}
		for i := range list.Items {
			key := object.Ref{GroupVersionKind: gvk, Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
			stubs[key] = object.Stub(key, &list.Items[i])
		}
	}
	return stubs, nil
}
