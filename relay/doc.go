// Package relay relays custom resources to the schedulers of runtimes, and
// returns what they report.
//
// A [Relay] has one session for each namespace that has a SeldonRuntime. A session
// keeps one gRPC connection, its streams and its calls, and one context ends them all.
// Sessions share no state but the certificates: a scheduler that is down or slow
// delays its own namespace and no other.
//
// In: a controller syncs an object ([Relay.Sync]), which never blocks. The session
// reads the object from the cache, compares it with what the scheduler has, and sends
// what differs. Out: what the scheduler reports is kept in memory as an [Observation],
// and the object is enqueued for its controller. Only controllers write to the API
// server.
//
// What always holds:
//
//   - Custom resources are the source of truth. On every connection, and about once an
//     hour, the session lists what the scheduler has and sends what differs.
//   - An object is loaded only after the scheduler has requested its kind on this
//     connection. Every call has a deadline and ends with the connection.
//   - Kinds are independent: a listing that fails or a stream that is refused is tried
//     again, and the other kinds go on. Servers and deletions overtake what else waits.
//   - An object counts as unloaded only once the scheduler has acknowledged our request
//     on this connection, or has certainly terminated it or does not list it.
//   - What is known of a kind expires when that has not been in sync on a stable
//     connection for [Options.UnreachableTimeout].
//   - An event affects only objects in its session's own namespace.
//
// An idle session has at most 18 goroutines, one that is not connected at most 6.
// Goroutines for calls exist as long as there are calls to make.
package relay
