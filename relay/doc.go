// Package relay synchronizes custom resources with the schedulers of SeldonRuntimes, and
// returns what the schedulers report.
//
// A [Relay] has one session for each namespace with a SeldonRuntime. A session has one
// gRPC connection with its streams, calls and queue, and one context that ends them all. A
// session does not wait for the scheduler of another. Sessions share the certificates, the
// queues of the controllers, the clients of the API server, and the process.
//
// In: a controller syncs an object ([Relay.Sync], [Relay.SyncServer]), which never blocks,
// and reports that it was deleted ([Relay.ObjectDeleted]). The session reads the object
// from the cache, compares it with what the scheduler has, and sends what differs.
//
// Out: what the scheduler reports is kept in memory as an [Observation] or
// [ServerObservation], and the object is enqueued for its controller ([Relay.EventSource]).
// Only controllers write to the API server. [Relay.ConnectionStatus] is the status of a
// session.
//
// Invariants:
//
//   - Custom resources are the source of truth. On every connection, and about once an
//     hour, the session lists what the scheduler has and sends what differs.
//   - An object is loaded only after the scheduler has requested its kind on this
//     connection. Every call has a deadline and ends with the connection.
//   - Kinds are independent: a listing or stream that fails is retried, and the other
//     kinds continue. Servers and deletions are processed before loads.
//   - An object counts as unloaded only when the scheduler has acknowledged the unload on
//     this connection and reports the object as terminated or does not list it, or when a
//     reply reports it as terminated.
//   - The observations of a kind expire when it has not been in sync on a stable connection
//     for [Options.UnreachableTimeout].
//   - An event affects only objects in the namespace of its session.
//
// An idle session has at most 18 goroutines, one that is not connected at most 6.
// Goroutines for calls exist only while calls are running.
//
// Files: session.go (connections), connection.go (streams, the processing of the
// queue), kind_sync.go and resync.go (resyncs), object_state.go, object_events.go and
// decide.go (the state machine of an object, without effects), reconcile.go and orphans.go
// (its calls), servers.go and server_sync.go (Servers), status_event.go and translate.go
// (messages), backoff.go (delays), errors.go and disconnect.go (classes of errors).
package relay
