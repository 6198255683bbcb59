package relay

import (
	"context"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// metrics of a relay. It is a collector: gauges are computed when they are collected.
type metrics struct {
	sessions func() []*session

	calls               *prometheus.HistogramVec
	resyncs             *prometheus.CounterVec
	syncFailures        *prometheus.CounterVec
	dropped             *prometheus.CounterVec
	unconfirmedReleases *prometheus.CounterVec
}

var (
	sessionsMetric = prometheus.NewDesc("seldon_operator_scheduler_sessions",
		"Sessions with schedulers, one for each namespace with a SeldonRuntime, by state.", []string{"state"}, nil)
	connectedMetric = prometheus.NewDesc("seldon_operator_scheduler_connected",
		"Whether the session of a namespace is connected to its scheduler (1) or not (0).", []string{"namespace"}, nil)
	connectionStartMetric = prometheus.NewDesc("seldon_operator_scheduler_connection_start_timestamp_seconds",
		"Unix time at which the session of a namespace connected; absent while it is not connected.", []string{"namespace"}, nil)
	syncedMetric = prometheus.NewDesc("seldon_operator_scheduler_synced",
		"Whether a kind was compared with the objects of the scheduler on this connection and its status stream is open (1) or not (0).", []string{"namespace", "kind"}, nil)
	queueMetric = prometheus.NewDesc("seldon_operator_scheduler_workqueue_depth",
		"Objects of a namespace in the queue that are to be compared with those of its scheduler.", []string{"namespace"}, nil)
)

func newMetrics(sessions func() []*session) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		sessions: sessions,
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "seldon_operator_scheduler_rpc_duration_seconds", Help: "Duration of calls to schedulers, by method and code; for streams, the time that they were open.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 600, 3600},
		}, []string{"method", "code"}),
		resyncs: counter("seldon_operator_scheduler_resyncs_total",
			"Comparisons of a kind with the objects of a scheduler, at its request.", "namespace", "kind"),
		syncFailures: counter("seldon_operator_scheduler_sync_failures_total",
			"Failed listings of kinds, notifications of Servers and streams of events, by reason.", "namespace", "kind", "reason"),
		dropped: counter("seldon_operator_scheduler_events_dropped_total",
			"Messages of schedulers that were ignored, by reason.", "reason"),
		unconfirmedReleases: counter("seldon_operator_scheduler_unconfirmed_releases_total",
			"Objects whose finalizer was removed although the scheduler had not confirmed the unload, by kind and reason.", "kind", "reason"),
	}
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	to <- sessionsMetric
	to <- connectedMetric
	to <- connectionStartMetric
	to <- syncedMetric
	to <- queueMetric
	m.calls.Describe(to)
	m.resyncs.Describe(to)
	m.syncFailures.Describe(to)
	m.dropped.Describe(to)
	m.unconfirmedReleases.Describe(to)
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	states := map[string]float64{"connected": 0, "connecting": 0}
	for _, s := range m.sessions() {
		s.mu.Lock()
		connection, depth, synced := s.status, 0, map[Kind]float64{}
		for kind, state := range s.kinds {
			synced[kind] = 0
			if state.sync.inSync() {
				synced[kind] = 1
			}
		}
		if s.connection != nil {
			depth = s.connection.queue.depth()
		}
		s.mu.Unlock()
		for kind, value := range synced {
			to <- prometheus.MustNewConstMetric(syncedMetric, prometheus.GaugeValue, value, s.namespace, string(kind))
		}
		connected := 0.0
		if connection.Connected {
			connected = 1
			to <- prometheus.MustNewConstMetric(connectionStartMetric, prometheus.GaugeValue, float64(connection.Since.UnixMilli())/1000, s.namespace)
			states["connected"]++
		} else {
			states["connecting"]++
		}
		to <- prometheus.MustNewConstMetric(connectedMetric, prometheus.GaugeValue, connected, s.namespace)
		to <- prometheus.MustNewConstMetric(queueMetric, prometheus.GaugeValue, float64(depth), s.namespace)
	}
	for state, number := range states {
		to <- prometheus.MustNewConstMetric(sessionsMetric, prometheus.GaugeValue, number, state)
	}
	m.calls.Collect(to)
	m.resyncs.Collect(to)
	m.syncFailures.Collect(to)
	m.dropped.Collect(to)
	m.unconfirmedReleases.Collect(to)
}

// forget removes the series of a namespace whose session has ended.
func (m *metrics) forget(namespace string) {
	m.resyncs.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	m.syncFailures.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
}

// unary is an interceptor that measures calls.
func (m *metrics) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	start := time.Now()
	err := invoke(ctx, method, request, reply, conn, options...)
	m.observe(method, start, err)
	return err
}

// stream is an interceptor that measures streams until they end.
func (m *metrics) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	start := time.Now()
	return open(ctx, desc, conn, method, append(options, grpc.OnFinish(func(err error) { m.observe(method, start, err) }))...)
}

func (m *metrics) observe(method string, start time.Time, err error) {
	m.calls.WithLabelValues(path.Base(method), status.Code(err).String()).Observe(time.Since(start).Seconds())
}
