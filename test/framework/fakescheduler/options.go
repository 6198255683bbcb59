package fakescheduler

import (
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// AgentMode selects how agents connect.
type AgentMode int

const (
	// AgentsAutomatic connects as many agents of a server as a ServerNotify expects,
	// at most 1000, and disconnects those that are too many, as a workload would.
	// Expecting 0 disconnects none: a Server can be deleted while its pods stay.
	AgentsAutomatic AgentMode = iota
	// AgentsManual leaves it to ConnectAgent and DisconnectAgent.
	AgentsManual
)

// Options configure a scheduler. With the zero value it listens on a free port of
// 127.0.0.1 and does everything at once.
type Options struct {
	// Address is host:port or unix:PATH. Port 0 is a free port, which stays the same
	// over restarts. Default: 127.0.0.1:0.
	Address string
	// Listen, if set, opens the listener at each start in place of one at Address.
	Listen func() (net.Listener, error)
	// KeepaliveMinTime is the shortest interval of clients' pings; with a shorter one a
	// connection ends with too_many_pings. Default: 1 minute, as the real scheduler's;
	// grpc-go's own default is 5.
	KeepaliveMinTime time.Duration
	// TLS enables TLS. Default: plaintext.
	TLS *tls.Config
	// Agents selects how agents connect. Default: AgentsAutomatic.
	Agents AgentMode
	// Delays slow the parts down. Default: none.
	Delays Delays
	// StateFile stands for the scheduler's volume: pipelines and experiments are
	// written to it, and read at the start. Default: they are kept in memory, and
	// survive Restart but not the process.
	StateFile string
	// OnCall, if set, is called for every RPC: for a unary one when it ends, for a
	// stream when it opens and when it ends. Calls are concurrent.
	OnCall func(Call)
}

// Delays are how long the parts of a scheduler take. Zero is at once, yet never
// within the RPC that causes the work.
type Delays struct {
	// AgentLoad and AgentUnload are an agent's for one model.
	AgentLoad, AgentUnload time.Duration
	// Envoy is between a model being loaded and available, and an experiment being
	// started and active. The real scheduler collects changes for 250 ms.
	Envoy time.Duration
	// ServerStatus is how long the events of a server are collected into one message.
	// The real scheduler takes 250 ms.
	ServerStatus time.Duration
	// Gateways is how long gateways and dataflow engines take for an operation.
	Gateways time.Duration
	// Reconnect is from a start to the connection of gateways and dataflow engines.
	Reconnect time.Duration
}

// Call is one RPC, for OnCall.
type Call struct {
	CallKey
	// Request is the received message. It must not be changed.
	Request proto.Message
	// Opened is set in the first of the two calls for a stream.
	Opened bool
	// Code is the status code of the response, and OK in the first call for a stream.
	Code codes.Code
	// Duration is how long the RPC took so far.
	Duration time.Duration
}

// CallKey identifies the calls that are counted together.
type CallKey struct {
	// Method is the RPC's name without its service, such as LoadModel.
	Method string
	// Name and Generation are those of the object that the RPC is about, and the name
	// of the subscriber for subscriptions. A ServerNotify counts for each of its servers.
	Name       string
	Generation int64
}

// withDefaults sets the defaults of fields that are not set.
func (o Options) withDefaults() Options {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.KeepaliveMinTime == 0 {
		o.KeepaliveMinTime = time.Minute
	}
	return o
}
