package controllers

import (
	"context"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
)

const (
	// podCreationTimeout is how long the StatefulSet controller may take to create pods
	// before its Events are read.
	podCreationTimeout = 2 * time.Second
	// podFailureTTL is how long the result is cached, and when to read the Events again.
	podFailureTTL = 30 * time.Second
)

// podFailures finds out why pods of StatefulSets are not created. Unlike that of a
// Deployment, the status of a StatefulSet does not contain it, but the Events of its
// controller do. It is safe for concurrent use.
type podFailures struct {
	apiReader client.Reader
	notes     *cache.LRUExpireCache // of Events by UID, empty if there is none
}

func newPodFailures(apiReader client.Reader) *podFailures {
	return &podFailures{apiReader: apiReader, notes: cache.NewLRUExpireCache(dedupCacheSize)}
}

// explain sets the reason and message of StatefulSets among healths whose pods are not
// created. It returns when to call it again, without a change of a child object; 0 if all
// pods are created.
func (p *podFailures) explain(ctx context.Context, healths map[composition.ObjectRef]reconciler.ChildHealth, objects composition.LiveObjects) (requeueAfter time.Duration) {
	for ref, child := range healths {
		if ref.Kind != "StatefulSet" || child.Reason != reconciler.ReasonProgressing {
			continue
		}
		set := objects.Get(ref)
		if !lacksPods(set) {
			continue
		}
		if remaining := podCreationTimeout - time.Since(set.GetCreationTimestamp().Time); remaining > 0 {
			requeueAfter = podCreationTimeout // creation times are whole seconds
			continue
		}
		if requeueAfter == 0 {
			requeueAfter = podFailureTTL
		}
		if note := p.note(ctx, set); note != "" {
			child.Reason, child.Message = reconciler.ReasonReplicaFailure, child.Message+": "+note
			healths[ref] = child
		}
	}
	return requeueAfter
}

// lacksPods reports whether the controller of a StatefulSet has observed its newest spec,
// and fewer pods exist than that requires.
func lacksPods(set *unstructured.Unstructured) bool {
	desired, _, _ := unstructured.NestedInt64(set.Object, "spec", "replicas")
	existing, _, _ := unstructured.NestedInt64(set.Object, "status", "replicas")
	observed, _, _ := unstructured.NestedInt64(set.Object, "status", "observedGeneration")
	return existing < desired && observed == set.GetGeneration()
}

// note returns the note of the newest Event about a pod of set that could not be
// created; empty if there is none, or if the permission to list Events is missing.
func (p *podFailures) note(ctx context.Context, set *unstructured.Unstructured) string {
	if note, known := p.notes.Get(set.GetUID()); known {
		return note.(string)
	}
	list := &eventsv1.EventList{}
	err := p.apiReader.List(ctx, list, client.InNamespace(set.GetNamespace()),
		client.MatchingFields{"regarding.uid": string(set.GetUID()), "reason": "FailedCreate"})
	if err != nil {
		return ""
	}
	newest, note := time.Time{}, ""
	for i := range list.Items {
		event := &list.Items[i]
		at := event.DeprecatedLastTimestamp.Time
		if event.Series != nil {
			at = event.Series.LastObservedTime.Time
		} else if at.IsZero() {
			at = event.EventTime.Time
		}
		if at.After(newest) {
			newest, note = at, event.Note
		}
	}
	p.notes.Add(set.GetUID(), note, podFailureTTL)
	return note
}
