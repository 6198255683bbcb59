package fakescheduler

import (
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// AgentMode says who makes agents connect.
type AgentMode int

const (
	// AgentsAutomatic makes a ServerNotify act like a workload: as many agents of
	// the server connect as it expects, up to 1000, and superfluous ones disconnect.
	AgentsAutomatic AgentMode = iota
	// AgentsManual leaves it to ConnectAgent and DisconnectAgent.
	AgentsManual
)

// None is zero gateways or engines in Options, where 0 stands for the default.
const None = -1

// Options say how a scheduler behaves. The zero value is useful: it listens on a
// free port of 127.0.0.1 and answers at once.
type Options struct {
	// Address is host:port or unix:/path. Port 0 is any free one, which then stays
	// the same over restarts. Default: 127.0.0.1:0.
	Address string
	// Listen, if set, opens the listener at each start in place of one at Address.
	Listen func() (net.Listener, error)
	// TLS makes it a TLS listener. Default: plaintext.
	TLS *tls.Config

	// ReadyTimeout opens the gate when nothing else did. Default: 5 minutes.
	ReadyTimeout time.Duration
	// HoldGate keeps the gate closed, whatever happens, until ReleaseGate or OpenGate.
	HoldGate bool

	// Agents says who makes agents connect. Default: automatic.
	Agents AgentMode
	// AgentCapabilities are those of automatic agents. Nil: any requirement is met.
	AgentCapabilities []string
	// AgentMemory is that of automatic agents, in bytes. 0: without bound.
	AgentMemory uint64

	// ModelGateways, PipelineGateways and DataflowEngines are how many of them
	// connect at start. 0 is the default, 1; None is zero.
	ModelGateways, PipelineGateways, DataflowEngines int

	// Delays slow the parts down. Default: none.
	Delays Delays

	// DeletedTTL is how long deleted pipelines and experiments are remembered and
	// listed. Deleted models are until the next start. Default: 24 hours.
	DeletedTTL time.Duration
	// RetryInterval is between retries of what gateways and engines failed to do,
	// of which there are up to 10. Default: 1 minute.
	RetryInterval time.Duration
	// SendTimeout ends a stream whose client does not take a message for so long;
	// the client then sees EOF. Default: 30 seconds.
	SendTimeout time.Duration
	// NoServerAutoscaling keeps it from sending scaling requests by itself.
	NoServerAutoscaling bool

	// StateFile is the volume: pipelines, experiments and what agents have loaded
	// are kept there, and read at start. Default: they are kept in memory, and so
	// survive Restart but not the process.
	StateFile string

	// OnCall, if set, is told every RPC: a unary one when it ends, a stream when it
	// opens and when it ends. It is called from many goroutines.
	OnCall func(Call)
	// OnError, if set, is told when the state file cannot be written. It must not
	// call the scheduler.
	OnError func(error)
}

// Delays are how long the parts take. Zero is at once, yet never inside the RPC
// that causes the work.
type Delays struct {
	// AgentConnect is from the start, or from a ServerNotify, to the connection of
	// an automatic agent.
	AgentConnect time.Duration
	// AgentLoad and AgentUnload are an agent's for one model.
	AgentLoad, AgentUnload time.Duration
	// Envoy is between a model being loaded and available, or an experiment started
	// and active. The real one batches for 250 ms.
	Envoy time.Duration
	// ServerStatus is how long events of one server are collected into one message.
	// The real one takes 250 ms.
	ServerStatus time.Duration
	// ModelGateway, PipelineGateway and DataflowEngine are from being asked to the
	// answer.
	ModelGateway, PipelineGateway, DataflowEngine time.Duration
	// Reconnect is from the start to the connection of gateways and engines.
	Reconnect time.Duration
	// Answer is added to every unary RPC, before its effect.
	Answer time.Duration
	// Send is added before every message on a stream.
	Send time.Duration
}

// Call is one RPC, as OnCall is told it.
type Call struct {
	// Method is the RPC's name without its service, such as LoadModel.
	Method string
	// Name and Generation are those of the resource that it is about; the name is
	// the subscriber's for subscriptions, and empty for a ServerNotify of several.
	Name       string
	Generation int64
	// Request is what was received. It must not be changed.
	Request proto.Message
	// Opened is set on the first of the two calls for a stream.
	Opened bool
	// Code is the answer's, and OK in the call for a stream that opens.
	Code codes.Code
	// Duration is how long it took.
	Duration time.Duration
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	orDefault(&o.Address, "127.0.0.1:0")
	orDefault(&o.ReadyTimeout, 5*time.Minute)
	orDefault(&o.DeletedTTL, 24*time.Hour)
	orDefault(&o.RetryInterval, time.Minute)
	orDefault(&o.SendTimeout, 30*time.Second)
	for _, number := range []*int{&o.ModelGateways, &o.PipelineGateways, &o.DataflowEngines} {
		orDefault(number, 1)
		*number = max(*number, 0)
	}
	return o
}

// orDefault sets a field that has its zero value.
func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
