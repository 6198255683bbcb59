package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// meters are what the controllers have to tell as metrics. It is a collector:
// objects are counted when somebody asks. Only the leader is one, or each object
// would count once for each replica of the operator.
type meters struct {
	cache    client.Reader
	registry prometheus.Registerer
	lifetime context.Context // set by Start, before anybody asks

	changes   *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	ready     *prometheus.HistogramVec
	failures  rate.Sometimes
}

// collectTimeout bounds the wait for a cache that is not synced yet.
const collectTimeout = 5 * time.Second

var (
	resourcesMetric = prometheus.NewDesc("seldon_operator_resources",
		"Objects of a kind in a namespace, by the status of their condition Ready.", []string{"kind", "namespace", "ready"}, nil)
	warningConditionsMetric = prometheus.NewDesc("seldon_operator_warning_conditions",
		"SeldonRuntimes and Servers in a namespace that have a condition of this type, which is there only when something is the matter.",
		[]string{"kind", "namespace", "type"}, nil)
)

func newMeters(cache client.Reader, registry prometheus.Registerer) *meters {
	return &meters{
		cache: cache, registry: registry, failures: rate.Sometimes{Interval: tellAgain},
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seldon_operator_child_operations_total",
			Help: "Children that were put back, deleted or rolled, by the reason of the Event that tells of it.",
		}, []string{"kind", "namespace", "reason"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seldon_operator_conflicts_total",
			Help: "Reconciles that are retried because what they read was older than what is stored, by the kind of the object.",
		}, []string{"kind"}),
		ready: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "seldon_operator_time_to_ready_seconds",
			Help:    "Time until the condition Ready of an object turned True, since it had turned False or Unknown last, for whatever reason, or else since the object was created.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"kind"}),
	}
}

// Start serves the metrics until the end; it makes them a manager's runnable, one
// that waits to be elected.
func (m *meters) Start(ctx context.Context) error {
	m.lifetime = ctx
	if err := m.registry.Register(m); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	defer m.registry.Unregister(m)
	<-ctx.Done()
	return nil
}

// Describe implements [prometheus.Collector].
func (m *meters) Describe(to chan<- *prometheus.Desc) {
	to <- resourcesMetric
	to <- warningConditionsMetric
	m.changes.Describe(to)
	m.conflicts.Describe(to)
	m.ready.Describe(to)
}

// Collect implements [prometheus.Collector].
func (m *meters) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(m.lifetime, collectTimeout)
	defer cancel()
	for _, list := range []client.ObjectList{
		&v1alpha1.SeldonRuntimeList{}, &v1alpha1.ServerList{}, &v1alpha1.ModelList{}, &v1alpha1.PipelineList{}, &v1alpha1.ExperimentList{},
	} {
		if err := m.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			// An invalid metric would tell it, too, but the manager's handler then serves none
			// at all.
			m.failures.Do(func() {
				ctrl.LoggerFrom(m.lifetime).WithName("metrics").Error(err, "Objects cannot be counted", "list", fmt.Sprintf("%T", list))
			})
			continue
		}
		collectObjects(to, list)
	}
	m.changes.Collect(to)
	m.conflicts.Collect(to)
	m.ready.Collect(to)
}

// collectObjects counts the objects of a list. A namespace with any has a number
// for each status, so that what is no more becomes 0 and does not just end.
func collectObjects(to chan<- prometheus.Metric, list client.ObjectList) {
	type series struct{ kind, namespace, value string }
	objects, notices := map[series]int{}, map[series]int{}
	eachItem(list, func(item client.Object) {
		object := item.(conditioned)
		kind, namespace := kindOf(object), object.GetNamespace()
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			objects[series{kind, namespace, string(status)}] += 0
		}
		ready := metav1.ConditionUnknown
		for _, condition := range object.GetConditions() {
			switch {
			case condition.Type == v1alpha1.ConditionReady:
				ready = condition.Status
			case condition.Status == metav1.ConditionTrue && (isNotice(condition.Type) || condition.Type == v1alpha1.ConditionPaused):
				notices[series{kind, namespace, condition.Type}]++
			}
		}
		objects[series{kind, namespace, string(ready)}]++
	})
	emit := func(desc *prometheus.Desc, counted map[series]int) {
		for of, number := range counted {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(number), of.kind, of.namespace, of.value)
		}
	}
	emit(resourcesMetric, objects)
	emit(warningConditionsMetric, notices)
}

// changed counts children that something was done to, by the reason of the Event.
func (m *meters) changed(namespace, reason string, children []composition.ObjectRef) {
	for _, child := range children {
		m.changes.WithLabelValues(child.Kind, namespace, reason).Inc()
	}
}

// turnedReady measures how long object has been waiting to be ready; old is its
// condition from before, nil if it had none. False and Unknown are told apart: who
// turns from one to the other begins anew.
func (m *meters) turnedReady(object client.Object, old *metav1.Condition) {
	since := object.GetCreationTimestamp()
	if old != nil {
		since = old.LastTransitionTime
	}
	m.ready.WithLabelValues(kindOf(object)).Observe(time.Since(since.Time).Seconds())
}

// forgetSeries ends the series of a namespace that has nothing left with children.
func (e *environment) forgetSeries(ctx context.Context, namespace string) error {
	for _, list := range []client.ObjectList{&v1alpha1.SeldonRuntimeList{}, &v1alpha1.ServerList{}} {
		if err := e.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("look what is left in namespace %s: %w", namespace, err)
		}
		if meta.LenList(list) > 0 {
			return nil
		}
	}
	e.meters.changes.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	return nil
}
