// Package reconciler holds what every operator on the composition engine needs around
// it: the life cycle of a reconcile, conditions, status, Events, finalizers, error
// handling and watches. It contains nothing of a particular operator.
//
// [Reconciler] is a complete reconciler for a kind of custom resource that expands into
// child objects. It needs an engine and a function that computes the engine's input.
//
// An operator that needs more uses the steps that Reconciler is made of:
//
//   - [Run] is the life cycle: read the object, skip the reconcile if the cache is
//     stale, call the [Steps] for an existing, a deleted or a missing object, and finish.
//   - [Base] holds the state of one kind: which writes the cache must show, and which
//     objects fail since when. It writes finalizers, status and Events, and turns errors
//     into conditions and requeues. Kinds without child objects use it as well.
//   - [Composer] adds the engine: it builds a request, applies it, resumes recreations
//     and deletes child objects in order.
//   - [ResultConditions], [Aggregate] and [ChildHealth] compute conditions from a result.
//   - [WatchOwned], [Debounce], [EnqueueReferencing], [EnqueueInNamespace] and the
//     predicates configure a controller.
//
// What always holds:
//
//   - A reconcile ends in at most one write of status, also when it fails, and only if
//     the status differs. status.observedGeneration is written together with the
//     conditions of that generation.
//   - A condition that appears or changes its status or reason is recorded as an Event,
//     except for progress.
//   - Reconciling and Stalled follow kstatus: never both, absent rather than False.
//     Stalled means that only a change of the object or of its inputs helps.
//   - Conflicts, and transient errors for the first 30 seconds, are retried with a
//     backoff and not reported.
//   - Messages are sorted and bounded, so that equal states have equal messages.
package reconciler
