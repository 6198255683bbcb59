// Package fakescheduler is a stand-in for the scheduler of one namespace and for
// what works behind it: agents of model servers, model gateways, pipeline
// gateways and dataflow engines. It serves the whole Scheduler service over a
// real socket and behaves as the real one does towards its clients, down to
// what it ignores silently and what it repeats.
//
// In: RPCs, and what a test orders through the methods of [Scheduler]: agents
// that come and go, failures, faults on the wire, events made up. Out: answers,
// events to subscribers, counters of what was received, and the state as values.
//
// How it is built: the states of gate, models, pipelines, experiments and servers
// are plain data with transitions on them (gate.go, model.go, schedule.go,
// duty.go, pipeline.go, experiment.go, server.go), which know no gRPC. One mutex
// guards all of it. What the real scheduler does in the background is a task in a
// queue ([loop]), run one after another by one goroutine under that mutex. An
// event says only which item changed: its status is read when the event is
// handled, so quick transitions may collapse into repeats. Each subscriber has a
// queue without bound, which the goroutine of its stream drains: one that reads
// slowly holds nobody up.
//
// What always holds: the events of one item come in the order of its states;
// messages are never changed once they are stored or queued; when Stop or Kill
// returns, no goroutine and no timer is left.
//
// Left out: Envoy and Kafka (only the time they take), draining of agents, the
// explainer's own capability check, packing of servers, the sharding of models and
// pipelines over gateways (one owns all), the health service.
package fakescheduler
