package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
)

// session relays one namespace to its scheduler, from the runtime's beginning to
// its end, over one connection after the other.
type session struct {
	*Relay
	namespace string
	log       logr.Logger
	end       context.CancelFunc
	// hurry ends the wait before the next try to connect.
	hurry chan struct{}

	// silence forgets what the scheduler said once it has not been heard of for too
	// long.
	silence *time.Timer

	mu sync.Mutex
	// connection that the scheduler has spoken on; nil while there is none.
	connection *connection
	reach      Reachability
	items      map[objectKey]*item
	servers    map[string]*server
}

// objectKey names an object in a session's namespace.
type objectKey struct {
	kind Kind
	name string
}

// Reachability says whether a session has a connection on which the scheduler
// speaks.
type Reachability struct {
	Connected bool
	// Since is when it connected, lost its connection, or began.
	Since time.Time
	// Silent: it has had no connection for longer than [Options.Silence].
	Silent bool
	// Reason in CamelCase and Message of the last failure, or of the first in a row
	// with the same reason: later ones differ in ports and times.
	Reason, Message string
}

// Reasons why a scheduler can be reached or not.
const (
	ReasonConnected  = "Connected"
	ReasonConnecting = "Connecting"
	// ReasonUnavailable: nothing answers at the scheduler's address.
	ReasonUnavailable = "Unavailable"
	// ReasonNotAnswering: something takes connections there and does not speak.
	ReasonNotAnswering = "NotAnswering"
	// ReasonConnectionLost: the scheduler ended the connection, or it broke.
	ReasonConnectionLost = "ConnectionLost"
	// ReasonCredentials: certificates cannot be read.
	ReasonCredentials = "InvalidCredentials"
)

// Backoff between connections.
const (
	// healthySpell is how long a connection must have lasted for the backoff to
	// begin anew.
	healthySpell = 30 * time.Second
	// steadyAfter is how long the scheduler must have been speaking before it counts
	// as reachable, so that one that comes and goes is not told each time.
	steadyAfter = time.Second
)

func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 15 * time.Second}
}

// run connects, and connects again, until ctx ends.
func (s *session) run(ctx context.Context) {
	s.silence = time.AfterFunc(s.Silence, s.forget)
	defer s.silence.Stop()
	backoff := newBackoff()
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		s.lost(err)
		if time.Since(begun) > healthySpell {
			backoff = newBackoff()
		}
		select {
		case <-ctx.Done():
		case <-s.hurry:
			backoff = newBackoff()
		case <-time.After(backoff.Step()):
		}
	}
}

// connect makes a connection, and works on it until it is lost.
func (s *session) connect(ctx context.Context) error {
	transport := s.newTransport(s.namespace)
	conn, err := transport.connect()
	if err != nil {
		return err
	}
	defer func() {
		if err := conn.Close(); err != nil {
			s.log.V(1).Info("close the connection", "error", err.Error())
		}
	}()
	reason, message := classifyDisconnect(newConnection(s, conn).run(ctx), transport.lastError())
	return &disconnectError{reason, errors.New(message)}
}

// speaks is told when the scheduler has spoken on a new connection.
func (s *session) speaks(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connection = c
	wasSilent := s.reach.Silent
	s.reach.Silent = false
	for key, it := range s.items {
		if it.uid == "" && it.unload != unloaded {
			delete(s.items, key)
			continue
		}
		if wasSilent {
			// Their statuses say that there is no connection.
			it.busySince = time.Now()
			s.wake(key.kind, s.namespace, key.name)
		}
		// What a scheduler had before says nothing about what it has now.
		it.has, it.early, it.sending, it.hint, it.ended = nil, nil, 0, false, false
		if it.unload == underway {
			it.unload = asking
		}
	}
	for _, each := range s.servers {
		each.told = digest{}
	}
}

// steady is told when the scheduler has been speaking for a while.
func (s *session) steady(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != c || s.reach.Connected {
		return
	}
	s.reach = Reachability{Connected: true, Since: time.Now(), Reason: ReasonConnected, Message: "connected to " + s.target(s.namespace)}
	s.log.Info("connected", "address", s.target(s.namespace))
	s.wakeRuntimes(s.namespace)
}

// lost is told when a connection has ended, or could not be made.
func (s *session) lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spoke := s.connection != nil
	s.connection = nil
	reason := ReasonUnavailable
	if lost, is := errors.AsType[*disconnectError](err); is {
		reason = lost.reason
	}
	if s.reach.Connected || s.reach.Reason != reason {
		before := s.reach
		s.reach = Reachability{Since: before.Since, Silent: before.Silent, Reason: reason, Message: fmt.Sprintf("%s: %s", s.target(s.namespace), text(err))}
		if before.Connected {
			s.reach.Since = time.Now()
		}
		s.log.Info("not connected", "address", s.target(s.namespace), "reason", reason, "error", err.Error())
		s.wakeRuntimes(s.namespace)
	}
	if !spoke {
		return
	}
	s.silence.Reset(s.Silence)
	for key, it := range s.items {
		// Their controllers look whether they can go without the scheduler's word.
		if it.deleted {
			s.wake(key.kind, s.namespace, key.name)
		}
	}
}

// forget gives up what the scheduler said, when there has been no connection for
// too long.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != nil {
		return
	}
	s.reach.Silent = true
	for key, it := range s.items {
		it.state = nil
		s.wake(key.kind, s.namespace, key.name)
	}
}
