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
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options configure a [Relay].
type Options struct {
	// Reader reads custom resources and workloads from a cache. APIReader reads from
	// the API server: Secrets, and an object before it is unloaded as an orphan.
	Reader, APIReader client.Reader
	// Address of the scheduler of a namespace, as a gRPC target in which {namespace}
	// stands for the namespace. The default is seldon-scheduler.{namespace}, with port
	// 9004 or, with TLS, 9044.
	Address string
	// TLS locates the certificates; nil for plain text.
	TLS *TLS
	// UseDeployments: the workloads of Servers are Deployments, not StatefulSets.
	UseDeployments bool
	// WithoutWorkloads: Servers have no workloads that Reader could read. The scheduler is
	// notified of the replicas in their specs.
	WithoutWorkloads bool
	// Source, if the objects are not from an API server; nil if they are.
	Source Source
	// UnreachableTimeout is how long a kind may be out of sync before its observations
	// expire ([Observation.Stale]). The default is 60 seconds.
	UnreachableTimeout time.Duration
	// Registry has the relay's metrics registered while the relay runs; nil for none.
	Registry prometheus.Registerer
	Log      logr.Logger
}

// Relay has a session for each namespace with a SeldonRuntime. Its methods are safe for
// concurrent use, and none of them waits for a scheduler.
type Relay struct {
	options      Options
	metrics      *metrics
	certificates certificateCache
	// dialContext connects to an address; tests replace it.
	dialContext func(ctx context.Context, address string) (net.Conn, error)
	// lifetime is the parent of the contexts of all sessions.
	lifetime context.Context
	running  sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*session

	// queuesMu is separate from mu, since objects are enqueued under a session's lock.
	queuesMu sync.RWMutex
	queues   map[Kind][]requestQueue
}

// New returns a relay whose sessions end with ctx.
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
	r := &Relay{options: options, lifetime: ctx, sessions: map[string]*session{}, queues: map[Kind][]requestQueue{}, dialContext: dialAddress}
	r.certificates = certificateCache{lifetime: ctx, tls: options.TLS, secrets: options.APIReader, log: options.Log}
	r.metrics = newMetrics(r.listSessions)
	return r
}

// Start implements manager.Runnable: it blocks until ctx ends and then until every
// session has ended.
func (r *Relay) Start(ctx context.Context) error {
	if registry := r.options.Registry; registry != nil {
		if err := registry.Register(r.metrics); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		defer registry.Unregister(r.metrics)
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

// Open creates the session of a namespace, unless it exists, and enqueues the objects
// that it serves.
func (r *Relay) Open(namespace string) {
	if r.open(namespace) {
		r.enqueueNamespace(namespace)
	}
}

func (r *Relay) open(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[namespace] != nil || r.lifetime.Err() != nil {
		return false
	}
	ctx, end := context.WithCancel(r.lifetime)
	s := newSession(r, namespace, end)
	r.sessions[namespace] = s
	r.running.Go(func() {
		s.run(ctx)
		r.metrics.forget(namespace)
	})
	return true
}

// Close ends the session of a namespace, and enqueues the objects that it served.
func (r *Relay) Close(namespace string) {
	r.mu.Lock()
	s := r.sessions[namespace]
	delete(r.sessions, namespace)
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.end()
	r.enqueueNamespace(namespace)
}

// ReconnectNow starts another attempt to connect immediately if the session of a namespace
// is not connected.
func (r *Relay) ReconnectNow(namespace string) {
	if s := r.session(namespace); s != nil {
		s.reconnectNow()
	}
}

// ConnectionStatus returns the status of the session of a namespace, and whether there
// is one.
func (r *Relay) ConnectionStatus(namespace string) (ConnectionStatus, bool) {
	s := r.session(namespace)
	if s == nil {
		return ConnectionStatus{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statusWithSync(), true
}

// RecordUnconfirmedRelease counts an object whose finalizer was removed before the
// scheduler confirmed the unload. reason is in CamelCase.
func (r *Relay) RecordUnconfirmedRelease(kind Kind, reason string) {
	r.metrics.unconfirmedReleases.WithLabelValues(string(kind), reason).Inc()
}

// target returns the gRPC target of the scheduler of a namespace.
func (r *Relay) target(namespace string) string {
	return strings.ReplaceAll(r.options.Address, "{namespace}", namespace)
}

// session returns the session of a namespace; nil if there is none.
func (r *Relay) session(namespace string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[namespace]
}

func (r *Relay) listSessions() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.sessions))
}
