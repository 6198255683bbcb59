package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"k8s.io/apimachinery/pkg/util/wait"
)

// session relays one namespace to its scheduler, from the runtime's creation to its
// deletion. It keeps one grpc.ClientConn: grpc-go dials with a backoff, and lengthens
// the period of its pings there when a scheduler takes them for too many. The session
// opens the streams, one [connection] after the other.
type session struct {
	*Relay
	namespace string
	log       logr.Logger
	end       context.CancelFunc

	mu sync.Mutex
	// abandon ends the attempt to connect that is under way, or the wait for the next
	// one.
	abandon context.CancelCauseFunc
	// connection on which the scheduler has sent something; nil while there is none.
	connection *connection
	reach      ConnectionStatus
	// shortLived is the number of connections in a row that were lost before they
	// counted as healthy.
	shortLived int
	// staleTimers run for the kinds that are not in sync, to expire what is known of
	// them. stale kinds are those that have expired.
	staleTimers map[Kind]*time.Timer
	stale       map[Kind]bool
	items       map[objectKey]*objectState
	servers     map[string]*server
}

// objectKey names an object in a session's namespace; without a name it stands for
// the comparison of the whole kind.
type objectKey struct {
	kind Kind
	name string
}

// ConnectionStatus says whether a session has a connection on which the scheduler
// speaks, and whether the scheduler has what the cluster wants.
type ConnectionStatus struct {
	Connected bool
	// Since is when it connected, lost its connection, or began.
	Since time.Time
	// Reason in CamelCase and Message of the last failure. The same failure has the
	// same message each time.
	Reason, Message string

	// Synced: every kind was compared with what the scheduler has, on this connection,
	// and its events arrive.
	Synced bool
	// SyncReason in CamelCase, and SyncMessage, which names the kinds that are not
	// synced, and why.
	SyncReason, SyncMessage string
}

// Reasons why a scheduler can be reached or not.
const (
	ReasonConnected  = "Connected"
	ReasonConnecting = "Connecting"
	// ReasonUnavailable: nothing answers at the scheduler's address.
	ReasonUnavailable = "Unavailable"
	// ReasonNoResponse: something takes connections there and does not speak.
	ReasonNoResponse = "NoResponse"
	// ReasonConnectionLost: the scheduler ended the connection, or it broke.
	ReasonConnectionLost = "ConnectionLost"
	// ReasonCredentials: certificates cannot be read.
	ReasonCredentials = "InvalidCredentials"
)

// errReconnectNow ends an attempt to connect in favour of another one.
var errReconnectNow = errors.New("the scheduler may be there now")

const (
	// backoffResetAfter is how long a connection must have lasted for the backoff to
	// begin again.
	backoffResetAfter = 30 * time.Second
	// stableAfter is how long the scheduler must have been speaking before it counts
	// as reachable. It doubles with every connection in a row that is lost before
	// backoffResetAfter, up to that: a scheduler that comes and goes is not reported
	// each time.
	stableAfter = time.Second
)

// newBackoff is between attempts: 0.5 s, doubling up to a minute, jitter included.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 7, Cap: 40 * time.Second}
}

// run connects, and connects again, until ctx ends.
func (s *session) run(ctx context.Context) {
	s.mu.Lock()
	for _, kind := range syncedKinds() {
		s.expireLater(kind)
	}
	s.mu.Unlock()
	defer s.stopTimers()
	transport := s.newTransport(s.namespace)
	var conn *grpc.ClientConn
	closeConn := func() {
		if conn == nil {
			return
		}
		if err := conn.Close(); err != nil {
			s.log.V(1).Info("close the connection", "error", err.Error())
		}
		conn = nil
	}
	defer closeConn()
	backoff := newBackoff()
	for ctx.Err() == nil {
		attempt, abandon := context.WithCancelCause(ctx)
		s.mu.Lock()
		s.abandon = abandon
		s.mu.Unlock()
		healthy, lost := s.connect(attempt, transport, &conn)
		if ctx.Err() == nil && context.Cause(attempt) == nil {
			s.onDisconnected(healthy, lost)
			if healthy {
				backoff = newBackoff()
			}
			waitToReconnect(attempt, conn, backoff.Step())
		}
		if errors.Is(context.Cause(attempt), errReconnectNow) {
			closeConn()
			backoff = newBackoff()
		} else if lost.reason == ReasonNoResponse {
			// It may be there on one side only; grpc-go would go on using it.
			closeConn()
		}
		abandon(nil)
	}
}

// connect opens the streams, on a new ClientConn unless there is one, and works on
// them until they are lost. It reports whether the connection was healthy.
func (s *session) connect(ctx context.Context, transport *transport, conn **grpc.ClientConn) (healthy bool, lost *disconnectError) {
	var err error
	if *conn == nil {
		*conn, err = transport.connect()
	}
	if err == nil {
		healthy, err = newConnection(s, *conn).run(ctx)
	}
	reason, message := classifyDisconnect(err, transport.lastError())
	return healthy, &disconnectError{reason, errors.New(message)}
}

// waitToReconnect returns when it is time for another attempt: after a while, or when
// grpc-go has connected.
func waitToReconnect(ctx context.Context, conn *grpc.ClientConn, after time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	if conn != nil && conn.GetState() == connectivity.TransientFailure && conn.WaitForStateChange(ctx, connectivity.TransientFailure) {
		return
	}
	<-ctx.Done()
}

// reconnectNow has a session that is not connected begin another attempt at once, on
// a new ClientConn: the old one may be dialling an address that is gone.
func (s *session) reconnectNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection == nil && s.abandon != nil {
		s.abandon(errReconnectNow)
	}
}

// onEstablished is called when the scheduler has sent something on a new connection.
// It returns how long that must last for the connection to be stable.
func (s *session) onEstablished(c *connection) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connection = c
	c.establishedAt = time.Now()
	for key, it := range s.items {
		if it.uid == "" && it.unload != unloadConfirmed && !it.mayRemain {
			delete(s.items, key)
			continue
		}
		// What a scheduler had before says nothing about what it has now.
		if it.reconnected() {
			c.queue.add(key, priorityDeletion)
		}
	}
	for _, each := range s.servers {
		each.reset()
	}
	return min(stableAfter<<min(s.shortLived, 10), backoffResetAfter)
}

// onStable is called when the scheduler has been speaking for a while.
func (s *session) onStable(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != c || s.reach.Connected {
		return
	}
	s.reach = ConnectionStatus{Connected: true, Since: time.Now(), Reason: ReasonConnected, Message: "connected to " + s.target(s.namespace)}
	s.log.Info("connected", "address", s.target(s.namespace))
	for _, kind := range syncedKinds() {
		if c.inSync(kind) {
			s.refresh(kind)
		}
	}
	s.wakeRuntimes(s.namespace)
}

// onDisconnected is called when a connection has ended, or could not be made.
func (s *session) onDisconnected(healthy bool, lost *disconnectError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connection
	s.connection = nil
	message := s.target(s.namespace) + ": " + lost.Error()
	if s.reach.Connected || s.reach.Reason != lost.reason || s.reach.Message != message {
		before := s.reach
		s.reach = ConnectionStatus{Since: before.Since, Reason: lost.reason, Message: message}
		log := s.log
		if before.Connected {
			s.reach.Since = time.Now()
		} else if before.Reason == lost.reason {
			log = log.V(1)
		}
		log.Info("not connected", "address", s.target(s.namespace), "reason", lost.reason, "error", lost.Error())
		s.wakeRuntimes(s.namespace)
	}
	if c == nil {
		return
	}
	if healthy {
		s.shortLived = 0
	} else {
		s.shortLived++
	}
	for _, kind := range syncedKinds() {
		s.expireLater(kind)
	}
	for key, it := range s.items {
		// Their controllers look whether they can go without the scheduler's word.
		if it.deleting {
			s.wake(key.kind, s.namespace, key.name)
		}
	}
}

// expireLater gives up what is known of a kind, unless it is in sync before the
// timeout. It is called under the session's lock; a timer that runs goes on.
func (s *session) expireLater(kind Kind) {
	if s.staleTimers[kind] == nil && !s.stale[kind] {
		s.staleTimers[kind] = time.AfterFunc(s.UnreachableTimeout, func() { s.expireStates(kind) })
	}
}

// refresh ends that wait: the kind is in sync on a stable connection. What had
// expired is read again by the controllers, which need not hurry. It is called under
// the session's lock.
func (s *session) refresh(kind Kind) {
	if timer := s.staleTimers[kind]; timer != nil {
		timer.Stop()
		delete(s.staleTimers, kind)
	}
	if !s.stale[kind] {
		return
	}
	s.stale[kind] = false
	for key, it := range s.items {
		if key.kind == kind && !it.stale {
			s.wakeLow(key.kind, s.namespace, key.name)
		}
	}
}

// expireStates gives up what the scheduler reported about a kind, when that has not
// been in sync for too long.
func (s *session) expireStates(kind Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.staleTimers[kind] == nil {
		return // it was stopped too late
	}
	delete(s.staleTimers, kind)
	if c := s.connection; c != nil && s.reach.Connected && c.syncs[kind].compared && c.syncs[kind].listError == nil {
		// Only its stream fails, and each attempt to open that lists the kind.
		s.expireLater(kind)
		return
	}
	s.stale[kind] = true
	for key, it := range s.items {
		if key.kind == kind {
			it.expire()
			s.wakeLow(key.kind, s.namespace, key.name)
		}
	}
}

func (s *session) stopTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, timer := range s.staleTimers {
		timer.Stop()
	}
	clear(s.staleTimers)
}
