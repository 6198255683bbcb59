package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// session synchronizes one namespace with its scheduler, from the creation of the
// SeldonRuntime to its deletion:
//
//	            first message        stableAfter
//	connecting ───────────▶ established ───────────▶ stable
//	  ▲   ▲                      │                      │
//	  │   └────── the connection ends, or fails ────────┘
//	  └── backoff, or ReconnectNow
//
// A session keeps one grpc.ClientConn: grpc-go dials with a backoff, and increases the
// period of its pings on it when a scheduler rejects them as too many. On it, the session
// opens one [connection] after the other.
type session struct {
	relay     *Relay
	namespace string
	log       logr.Logger
	end       context.CancelFunc
	// transport and conn are only used by run; conn is nil if it must be replaced.
	transport *transport
	conn      *grpc.ClientConn

	mu sync.Mutex
	// cancelAttempt ends the current attempt to connect, or the wait for the next one.
	cancelAttempt context.CancelCauseFunc
	// connection that is established; nil if there is none.
	connection *connection
	// status of the connection, without the fields about synchronization.
	status ConnectionStatus
	// shortLived is the number of consecutive connections that ended before
	// backoffResetAfter.
	shortLived int
	kinds      map[Kind]*kindState
	objects    map[objectKey]*objectState
	servers    map[string]*server
}

// objectKey identifies an object in the namespace of a session. Without a name, it
// stands for the resync of the whole kind.
type objectKey struct {
	kind Kind
	name string
}

// errReconnectNow ends an attempt to connect, so that another one starts.
var errReconnectNow = errors.New("the scheduler may be reachable again")

const (
	// backoffResetAfter is how long a connection or stream must have lasted for the
	// backoff to start again.
	backoffResetAfter = 30 * time.Second
	// stableAfter is how long after the scheduler's first message a connection is
	// stable. It doubles with each consecutive connection that ends before
	// backoffResetAfter, up to that, so that a scheduler whose connections keep ending is
	// not reported each time.
	stableAfter = time.Second
)

// newSession returns a session that is not running. end ends the context of run.
func newSession(r *Relay, namespace string, end context.CancelFunc) *session {
	s := &session{
		relay: r, namespace: namespace, end: end, transport: r.newTransport(namespace),
		log:     r.options.Log.WithValues("namespace", namespace),
		status:  ConnectionStatus{Since: time.Now(), Reason: ReasonConnecting, Message: "connecting to " + r.target(namespace)},
		kinds:   map[Kind]*kindState{},
		objects: map[objectKey]*objectState{}, servers: map[string]*server{},
	}
	for _, kind := range syncedKinds {
		s.kinds[kind] = &kindState{kind: kind}
	}
	return s
}

// run connects, again after each connection, until ctx ends.
func (s *session) run(ctx context.Context) {
	s.mu.Lock()
	s.startStaleTimers()
	s.mu.Unlock()
	defer s.stopStaleTimers()
	defer s.closeConn()
	failures := 0
	for ctx.Err() == nil {
		attempt, cancelAttempt := context.WithCancelCause(ctx)
		s.mu.Lock()
		s.cancelAttempt = cancelAttempt
		s.mu.Unlock()
		healthy, err := s.connect(attempt)
		if ctx.Err() == nil && context.Cause(attempt) == nil {
			s.onDisconnected(healthy, err)
			if healthy {
				failures = 0
			}
			s.waitToReconnect(attempt, jitter(streamBackoff.after(failures)))
			failures++
		}
		if errors.Is(context.Cause(attempt), errReconnectNow) {
			s.closeConn()
			failures = 0
		} else if err.reason == ReasonNoResponse {
			// The connection may be half-open; grpc-go would continue to use it.
			s.closeConn()
		}
		cancelAttempt(nil)
	}
}

// connect runs one connection until it ends, on a new ClientConn unless there is one.
// It returns whether the connection was healthy, and why it ended.
func (s *session) connect(ctx context.Context) (healthy bool, _ *disconnectError) {
	var err error
	if s.conn == nil {
		s.conn, err = s.transport.connect()
	}
	if err == nil {
		healthy, err = newConnection(s, s.conn).run(ctx)
	}
	reason, message := classifyDisconnect(err, s.transport.lastError())
	return healthy, &disconnectError{reason, errors.New(message)}
}

// waitToReconnect returns when the next attempt is due: after a delay, or when grpc-go
// has connected.
func (s *session) waitToReconnect(ctx context.Context, delay time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, delay)
	defer cancel()
	if s.conn != nil && s.conn.GetState() == connectivity.TransientFailure && s.conn.WaitForStateChange(ctx, connectivity.TransientFailure) {
		return
	}
	<-ctx.Done()
}

func (s *session) closeConn() {
	if s.conn == nil {
		return
	}
	if err := s.conn.Close(); err != nil {
		s.log.V(1).Info("close the connection", "error", err.Error())
	}
	s.conn = nil
}

// reconnectNow starts another attempt of a session that is not connected immediately, on a
// new ClientConn: the existing one may be dialing an address that does not exist any more.
func (s *session) reconnectNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection == nil && s.cancelAttempt != nil {
		s.cancelAttempt(errReconnectNow)
	}
}

// onEstablished is called on the first message of the scheduler on a connection. It
// returns how long the connection must last to be stable.
func (s *session) onEstablished(c *connection) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setConnection(c)
	c.establishedAt = time.Now()
	for key, o := range s.objects {
		if o.uid == "" && o.unload.phase != unloadConfirmed && !o.mayRemain {
			delete(s.objects, key)
			continue
		}
		if o.reconnected() {
			c.queue.add(key, priorityDeletion)
		}
	}
	for _, each := range s.servers {
		each.reset()
	}
	return min(stableAfter<<min(s.shortLived, 10), backoffResetAfter)
}

// onStable is called when a connection has lasted as long as onEstablished returned.
func (s *session) onStable(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != c || s.status.Connected {
		return
	}
	target := s.relay.target(s.namespace)
	s.status = ConnectionStatus{Connected: true, Since: time.Now(), Reason: ReasonConnected, Message: "connected to " + target}
	s.log.Info("connected", "address", target)
	for _, state := range s.kinds {
		if state.sync.inSync() {
			s.refreshStates(state)
		}
	}
	s.relay.enqueueRuntimes(s.namespace)
}

// onDisconnected is called when a connection has ended, or an attempt to connect has
// failed.
func (s *session) onDisconnected(healthy bool, err *disconnectError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connection
	s.setConnection(nil)
	target := s.relay.target(s.namespace)
	message := target + ": " + err.Error()
	if before := s.status; before.Connected || before.Reason != err.reason || before.Message != message {
		s.status = ConnectionStatus{Since: before.Since, Reason: err.reason, Message: message}
		log := s.log
		if before.Connected {
			s.status.Since = time.Now()
		} else if before.Reason == err.reason {
			log = log.V(1)
		}
		log.Info("not connected", "address", target, "reason", err.reason, "error", err.Error())
		s.relay.enqueueRuntimes(s.namespace)
	}
	if c == nil {
		return
	}
	if healthy {
		s.shortLived = 0
	} else {
		s.shortLived++
	}
	s.startStaleTimers()
	for key, o := range s.objects {
		// The controller checks whether the object can be released without the
		// scheduler's confirmation.
		if o.deleting {
			s.relay.enqueue(key.kind, s.namespace, key.name)
		}
	}
}

// setConnection replaces the connection, on which no kind is in sync yet, under the
// session's lock.
func (s *session) setConnection(c *connection) {
	s.connection = c
	for _, state := range s.kinds {
		state.sync = kindSync{}
	}
}

// object returns the state of an object, new if there is none, under the session's lock.
func (s *session) object(key objectKey) *objectState {
	o := s.objects[key]
	if o == nil {
		o = &objectState{}
		s.objects[key] = o
	}
	return o
}

// server returns the state of a Server, new if there is none, under the session's lock.
func (s *session) server(name string) *server {
	found := s.servers[name]
	if found == nil {
		found = &server{}
		s.servers[name] = found
	}
	return found
}
