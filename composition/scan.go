package composition

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/object"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// scanPage is the number of objects that one request lists.
	scanPage = 500
	// scanAge is how long a listing serves the initial scans of other owners. What
	// is created meanwhile without our label was not made by the operator before us,
	// which does not run any more.
	scanAge = 30 * time.Second
	// maxScanned bounds how many objects a listing keeps for other owners.
	maxScanned = 10000
)

// scans are the listings of objects without our label, by kind and namespace. After
// a start all owners of a namespace are scanned at about the same time: they share
// one listing of each kind.
type scans struct {
	mu    sync.Mutex
	found map[scanned]*scan
}

type scanned struct {
	schema.GroupVersionKind
	namespace string
}

// scan is one listing. Its lock is held while it is made.
type scan struct {
	mu    sync.Mutex
	at    time.Time
	stubs map[object.Ref]*unstructured.Unstructured
}

// unlabelled lists the identities of the objects of a kind and namespace without our
// label. They are shared and must not be changed.
func (s *scans) unlabelled(ctx context.Context, e *Engine, gvk schema.GroupVersionKind, namespace string) (map[object.Ref]*unstructured.Unstructured, error) {
	s.mu.Lock()
	if s.found == nil {
		s.found = map[scanned]*scan{}
	}
	of := scanned{gvk, namespace}
	if s.found[of] == nil {
		s.found[of] = &scan{at: e.now()}
	}
	one := s.found[of]
	s.mu.Unlock()

	one.mu.Lock()
	defer one.mu.Unlock()
	if one.stubs != nil {
		return one.stubs, nil
	}
	stubs, err := e.listUnlabelled(ctx, gvk, namespace)
	if err == nil && len(stubs) <= maxScanned {
		one.stubs = stubs
	}
	return stubs, err
}

// expire drops listings that are older than scanAge.
func (s *scans) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.found, func(_ scanned, one *scan) bool { return now.Sub(one.at) >= scanAge })
}

// listUnlabelled reads the API server.
func (e *Engine) listUnlabelled(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (map[object.Ref]*unstructured.Unstructured, error) {
	requirement, err := labels.NewRequirement(e.Options.OwnerLabel(), selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("select objects without label %s: %w", e.Options.OwnerLabel(), err)
	}
	selector := client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*requirement)}
	stubs := map[object.Ref]*unstructured.Unstructured{}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	for more := true; more; more = list.Continue != "" {
		err := e.APIReader.List(ctx, list, client.InNamespace(namespace), selector, client.Limit(scanPage), client.Continue(list.Continue))
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
