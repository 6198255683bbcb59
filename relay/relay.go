package relay

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Options of a relay.
type Options struct {
	// Reader reads custom resources and workloads, from a cache. Live asks the API
	// server.
	Reader, APIReader client.Reader
	// Address of the scheduler of a namespace, in gRPC's syntax for targets, with
	// {namespace} for the namespace. Empty means seldon-scheduler.{namespace}, at
	// port 9004 or, with TLS, 9044.
	Address string
	// TLS is nil for plain text.
	TLS *TLS
	// UseDeployments says that Servers run as Deployments.
	UseDeployments bool
	// UnreachableTimeout is how long a session may be without a connection before nothing is
	// known any more of what it serves; 0 means 60 seconds.
	UnreachableTimeout time.Duration
	// Registry for the relay's metrics while it runs; nil for none.
	Registry prometheus.Registerer
	Log      logr.Logger
}

// Relay holds the sessions of all runtimes. Its methods are safe to call from many
// goroutines, and none of them waits for a scheduler.
type Relay struct {
	Options
	metrics      *metrics
	certificates certificateCache
	// dialContext connects to addresses; tests replace it.
	dialContext func(ctx context.Context, address string) (net.Conn, error)
	// lifetime of the relay, that all sessions derive theirs from.
	lifetime context.Context
	running  sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*session

	// A lock of its own: objects are woken under a session's lock.
	queuesMu sync.RWMutex
	queues   map[Kind][]requestQueue
}

// New makes a relay whose sessions end with ctx.
func New(ctx context.Context, options Options) *Relay {
	if options.UnreachableTimeout == 0 {
		options.UnreachableTimeout = time.Minute
	}
	if options.Address == "" {
		options.Address = "seldon-scheduler.{namespace}:9004"
		if options.TLS != nil {
			options.Address = "seldon-scheduler.{namespace}:9044"
		}
	}
	r := &Relay{Options: options, lifetime: ctx, sessions: map[string]*session{}, queues: map[Kind][]requestQueue{}, dialContext: dialAddress}
	r.certificates.relay = r
	r.metrics = newMetrics(r.sessionsNow)
	return r
}

// Start waits for the end, and then until every session has gone; it makes the
// relay a manager's runnable.
func (r *Relay) Start(ctx context.Context) error {
	if r.Registry != nil {
		if err := r.Registry.Register(r.metrics); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		defer r.Registry.Unregister(r.metrics)
	}
	<-ctx.Done()
	r.mu.Lock()
	for _, each := range r.sessions {
		each.end()
	}
	clear(r.sessions)
	r.mu.Unlock()
	r.running.Wait()
	return nil
}

// target is the address of a namespace's scheduler.
func (r *Relay) target(namespace string) string {
	return strings.ReplaceAll(r.Address, "{namespace}", namespace)
}

// Open begins the session of a namespace, if it has none, and wakes what it is
// to serve.
func (r *Relay) Open(namespace string) {
	if r.open(namespace) {
		r.wakeAll(namespace)
	}
}

func (r *Relay) open(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[namespace] != nil || r.lifetime.Err() != nil {
		return false
	}
	ctx, end := context.WithCancel(r.lifetime)
	s := &session{
		Relay: r, namespace: namespace, end: end,
		log:         r.Log.WithValues("namespace", namespace),
		reach:       ConnectionStatus{Since: time.Now(), Reason: ReasonConnecting, Message: "connecting to " + r.target(namespace)},
		staleTimers: map[Kind]*time.Timer{}, stale: map[Kind]bool{},
		items: map[objectKey]*objectState{}, servers: map[string]*server{},
	}
	r.sessions[namespace] = s
	r.running.Go(func() {
		s.run(ctx)
		r.metrics.forget(namespace)
	})
	return true
}

// Close ends the session of a namespace, and wakes what it has served.
func (r *Relay) Close(namespace string) {
	r.mu.Lock()
	s := r.sessions[namespace]
	delete(r.sessions, namespace)
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.end()
	r.wakeAll(namespace)
}

// ReconnectNow has a session that is not connected begin another attempt at once.
func (r *Relay) ReconnectNow(namespace string) {
	if s := r.session(namespace); s != nil {
		s.reconnectNow()
	}
}

func (r *Relay) session(namespace string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[namespace]
}

func (r *Relay) sessionsNow() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.sessions))
}

// ConnectionStatus of a namespace's scheduler, and whether there is a session at all.
func (r *Relay) ConnectionStatus(namespace string) (ConnectionStatus, bool) {
	s := r.session(namespace)
	if s == nil {
		return ConnectionStatus{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.reach
	s.syncStatus(&status)
	return status, true
}

// Observation is what is known of an object.
type Observation struct {
	// Session says whether the namespace has one, which it has with a runtime. If
	// not, everything else is zero.
	Session bool
	// Connected says whether the session has a stable connection.
	Connected bool
	// Stale: what the scheduler reported about the object has expired, since its kind has
	// not been in sync for [Options.UnreachableTimeout], and nothing is known yet on a new
	// connection.
	Stale bool
	// State is the scheduler's last word about the object's generation; nil if there
	// is none yet.
	State *State
	// ProgressingSince is when the scheduler began to work on it; zero if it is settled.
	ProgressingSince time.Time
	// Failure is the last error of telling the scheduler of the generation.
	Failure *Failure
	// Unloaded: the scheduler has said that it has the object no more.
	Unloaded bool
}

// Sync hands over an object as it is now, deleted ones included, and returns what
// is known of it. The object has the kind's finalizer: what is not handed over is
// not loaded.
func (r *Relay) Sync(kind Kind, object client.Object) Observation {
	s := r.session(object.GetNamespace())
	if s == nil {
		return Observation{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := objectKey{kind, object.GetName()}
	it := s.item(key)
	changed := it.setIncarnation(object.GetUID(), object.GetGeneration(), time.Now())
	deleted := object.GetDeletionTimestamp() != nil
	changed = changed || !it.registered || it.deleting != deleted
	it.registered, it.deleting = true, deleted
	// One that the session works on has its turn, after a backoff perhaps.
	if s.connection != nil && (changed || it.state == nil && it.failure == nil) {
		s.connection.queue.add(key, s.connection.priorityOf(key.kind, deleted))
	}
	// Of a kind that is not in sync, what is reported on a stable connection counts.
	expired := s.stale[kind] && !s.reach.Connected
	seen := Observation{Session: true, Connected: s.reach.Connected, Stale: expired || it.stale, ProgressingSince: it.progressingSince, Unloaded: it.unload == unloadConfirmed}
	if it.state != nil && !expired && it.state.Generation == object.GetGeneration() {
		seen.State = it.state
	}
	if it.failure != nil && it.failure.Generation == object.GetGeneration() {
		failure := *it.failure
		seen.Failure = &failure
	}
	return seen
}

// ServerObservation is what is known of a Server; nil is nothing.
type ServerObservation struct {
	State *ServerState
	// Scaling is what the scheduler asks for, until [Relay.AckScaling].
	Scaling *ScalingRequest
}

// SyncServer hands over a Server whose workload was applied, and returns what is
// known of it.
func (r *Relay) SyncServer(key types.NamespacedName) ServerObservation {
	s := r.session(key.Namespace)
	if s == nil {
		return ServerObservation{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.server(key.Name)
	if s.connection != nil {
		s.connection.enqueueServer(key.Name)
	}
	return ServerObservation{State: it.state, Scaling: it.scaling}
}

// AckScaling says that a request for scaling was dealt with.
func (r *Relay) AckScaling(key types.NamespacedName, request *ScalingRequest) {
	s := r.session(key.Namespace)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.server(key.Name); it.scaling == request {
		it.scaling = nil
	}
}

// ObjectDeleted tells that an object is no more.
func (r *Relay) ObjectDeleted(kind Kind, key types.NamespacedName) {
	s := r.session(key.Namespace)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := objectKey{kind, key.Name}
	switch {
	case s.connection != nil:
		s.connection.queue.add(gone, priorityDeletion)
	case kind == Server:
		delete(s.servers, key.Name)
	default:
		s.forgetBeforeListing(gone)
	}
}

// item returns the state of an object, under the session's lock.
func (s *session) item(key objectKey) *objectState {
	it := s.items[key]
	if it == nil {
		it = &objectState{}
		s.items[key] = it
	}
	return it
}

// server of a name, under the session's lock.
func (s *session) server(name string) *server {
	it := s.servers[name]
	if it == nil {
		it = &server{}
		s.servers[name] = it
	}
	return it
}

// requestQueue is a controller's queue.
type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// EventSource is a source for the controller of a kind: it wakes objects about which there
// is something new to see.
func (r *Relay) EventSource(kind Kind) source.Source {
	return source.Func(func(_ context.Context, queue requestQueue) error {
		r.queuesMu.Lock()
		defer r.queuesMu.Unlock()
		r.queues[kind] = append(r.queues[kind], queue)
		return nil
	})
}

// wake wakes an object. It never waits, and may be called under a session's lock.
func (r *Relay) wake(kind Kind, namespace, name string) {
	r.enqueue(kind, namespace, name, priorityqueue.AddOpts{})
}

// wakeLow wakes one of many objects at once, after those about which there is news.
func (r *Relay) wakeLow(kind Kind, namespace, name string) {
	r.enqueue(kind, namespace, name, priorityqueue.AddOpts{Priority: new(handler.LowPriority)})
}

// wakeLater wakes an object after a while, together with what comes meanwhile.
func (r *Relay) wakeLater(kind Kind, namespace, name string, after time.Duration) {
	r.enqueue(kind, namespace, name, priorityqueue.AddOpts{After: after})
}

func (r *Relay) enqueue(kind Kind, namespace, name string, options priorityqueue.AddOpts) {
	r.queuesMu.RLock()
	defer r.queuesMu.RUnlock()
	for _, queue := range r.queues[kind] {
		// A manager may have been told to do without priorities.
		if prioritized, is := queue.(priorityqueue.PriorityQueue[reconcile.Request]); is {
			prioritized.AddWithOpts(options, request(namespace, name))
		} else {
			queue.AddAfter(request(namespace, name), options.After)
		}
	}
}

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// wakeAll wakes everything in a namespace that has to do with a scheduler.
func (r *Relay) wakeAll(namespace string) {
	for _, kind := range kinds {
		r.listNames(namespace, kind.newList(), func(name string) { r.wakeLow(kind.kind, namespace, name) })
	}
	r.listNames(namespace, &v1alpha1.ServerList{}, func(name string) { r.wakeLow(Server, namespace, name) })
	r.wakeRuntimes(namespace)
}

// wakeRuntimes wakes the runtimes of a namespace, whose status tells of the session.
func (r *Relay) wakeRuntimes(namespace string) {
	r.listNames(namespace, &v1alpha1.SeldonRuntimeList{}, func(name string) { r.wake(SeldonRuntime, namespace, name) })
}

func (r *Relay) listNames(namespace string, list client.ObjectList, each func(name string)) {
	if err := r.Reader.List(r.lifetime, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is closed: the manager is stopping
	}
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		each(item.(client.Object).GetName())
		return nil
	})
}

// RecordUnconfirmedRelease counts an object that was released although the scheduler had not said
// that it is gone.
func (r *Relay) RecordUnconfirmedRelease(kind Kind, reason string) {
	r.metrics.abandoned.WithLabelValues(string(kind), reason).Inc()
}
