// Package fakescheduler is a fake of the scheduler of one namespace, and of what
// works for it: agents of model servers, gateways and dataflow engines. It serves
// the RPCs that the operator uses on a socket or an in-memory listener, and behaves
// towards its clients as the real scheduler does; the package conformance compares
// both.
//
// Tests control it through the methods of [Scheduler]: agents that connect and
// disconnect, failures, faults of RPCs, events of their own. They observe counts of
// calls, and the state as values.
//
// States of models, pipelines, experiments and servers are plain data with
// transitions, without gRPC. One mutex guards all of them. The background work of the real
// scheduler is done by tasks of the [eventLoop]. An event has only the object
// that changed, and its status is read when the event is handled, so that
// quick transitions may collapse into repeated messages. Each subscriber has a queue
// without bound: a slow one delays no other.
//
// The events of an object are in the order of its states. Messages are never changed
// once they are stored or queued. When Stop or Kill returns, no goroutine is left. It
// runs in a bubble of testing/synctest if it listens in memory.
//
// Not part of it: Envoy and Kafka (only the time that they take), gateways and
// dataflow engines as clients, memory and capabilities of servers, draining, the
// packing of servers, the health service.
package fakescheduler
