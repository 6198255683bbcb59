package controllers

import (
	"context"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

const (
	// podCreation is how long the StatefulSet controller may take for pods before its
	// Events are read.
	podCreation = 2 * time.Second
	// podFailureMemory is how long an answer is remembered, and when to ask again.
	podFailureMemory = 30 * time.Second
)

// podFailures knows why pods of StatefulSets are not created. Unlike a Deployment's
// status, theirs does not say so, but their controller's Events do. It is safe for
// concurrent use.
type podFailures struct {
	live  client.Reader
	known *cache.LRUExpireCache // notes, empty if there is none, by UID
}

func newPodFailures(live client.Reader) *podFailures {
	return &podFailures{live: live, known: cache.NewLRUExpireCache(messagesKept)}
}

// health computes the health of every child. after says when to look again for pods
// that are not created, without a change of a child; 0 if all are.
func (p *podFailures) health(ctx context.Context, children map[composition.ObjectRef]*unstructured.Unstructured) (healths map[composition.ObjectRef]childHealth, after time.Duration) {
	healths = healthOf(children)
	for key, child := range healths {
		if key.Kind != "StatefulSet" || child.reason != reasonProgressing || !lacksPods(children[key]) {
			continue
		}
		if young := podCreation - time.Since(children[key].GetCreationTimestamp().Time); young > 0 {
			after = podCreation // creation times are whole seconds
			continue
		}
		if after == 0 {
			after = podFailureMemory
		}
		if note := p.note(ctx, children[key]); note != "" {
			child.reason, child.message = reasonReplicaFailure, child.message+": "+note
			healths[key] = child
		}
	}
	return healths, after
}

// lacksPods returns whether the controller of a StatefulSet has seen its newest spec,
// and there are fewer pods than that wants.
func lacksPods(set *unstructured.Unstructured) bool {
	wanted, _, _ := unstructured.NestedInt64(set.Object, "spec", "replicas")
	existing, _, _ := unstructured.NestedInt64(set.Object, "status", "replicas")
	observed, _, _ := unstructured.NestedInt64(set.Object, "status", "observedGeneration")
	return existing < wanted && observed == set.GetGeneration()
}

// note is the newest Event about a pod of set that could not be created. Without the
// right to list Events there is none.
func (p *podFailures) note(ctx context.Context, set *unstructured.Unstructured) string {
	if note, known := p.known.Get(set.GetUID()); known {
		return note.(string)
	}
	list := &eventsv1.EventList{}
	err := p.live.List(ctx, list, client.InNamespace(set.GetNamespace()),
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
	p.known.Add(set.GetUID(), note, podFailureMemory)
	return note
}
