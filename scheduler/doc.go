// Package scheduler relays custom resources to the schedulers of runtimes, and
// brings back what they say.
//
// A [Relay] has one session for each namespace that has a SeldonRuntime. A
// session owns a connection, its streams and its outgoing calls, and one context
// that ends them all. Sessions know nothing of each other: a scheduler that is
// dead or slow costs its own namespace and no other.
//
// What goes in: a controller hands over an object ([Relay.Hand]), and never
// waits. The session reads the object from the cache, compares it with
// what the scheduler has, and sends what differs. What comes out: the scheduler's
// word, kept in memory as an [Observation], which wakes the object's controller.
// Only controllers write to the API server.
//
// What always holds:
//
//   - Custom resources are the truth. On every connection the session asks what
//     the scheduler has and sends what differs, Servers first.
//   - Nothing is sent before the scheduler asks for its kind, and everything that
//     is sent has a deadline and ends with the connection.
//   - An object counts as unloaded only once the scheduler has answered our request
//     to unload it, and by a word that is about that request.
//   - An event touches only objects in its session's own namespace.
package scheduler
