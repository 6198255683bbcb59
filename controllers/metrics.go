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
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
)

// collector has the metrics of the controllers. It counts objects when it is scraped.
// Only the leader registers it: otherwise each object would be counted once per replica
// of the operator. It implements [prometheus.Collector] and [reconciler.Metrics].
type collector struct {
	reader   client.Reader
	registry prometheus.Registerer
	ctx      context.Context // set by Start, before the first Collect

	operations *prometheus.CounterVec
	conflicts  *prometheus.CounterVec
	ready      *prometheus.HistogramVec
	logOnce    rate.Sometimes // per relogInterval
}

// collectTimeout is how long Collect waits for a cache that is not synced.
const collectTimeout = 5 * time.Second

var (
	resourcesMetric = prometheus.NewDesc("seldon_operator_resources",
		"Objects of a kind in a namespace, by the status of their condition Ready.", []string{"kind", "namespace", "ready"}, nil)
	warningConditionsMetric = prometheus.NewDesc("seldon_operator_warning_conditions",
		"SeldonRuntimes and Servers in a namespace that have a warning condition of this type.",
		[]string{"kind", "namespace", "type"}, nil)
)

func newCollector(reader client.Reader, registry prometheus.Registerer) *collector {
	return &collector{
		reader: reader, registry: registry, logOnce: rate.Sometimes{Interval: relogInterval},
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seldon_operator_child_operations_total",
			Help: "Children whose drift was corrected, that were deleted or restarted, by the reason of the Event.",
		}, []string{"kind", "namespace", "reason"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seldon_operator_conflicts_total",
			Help: "Reconciles that are retried because the version that was read is older than the stored one, by the kind of the object.",
		}, []string{"kind"}),
		ready: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "seldon_operator_time_to_ready_seconds",
			Help:    "Time until the condition Ready of an object becomes True, since it last became False or Unknown, or else since the creation of the object.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"kind"}),
	}
}

// Start registers the metrics until ctx ends. It implements a runnable of a manager that
// waits for leader election.
func (c *collector) Start(ctx context.Context) error {
	c.ctx = ctx
	if err := c.registry.Register(c); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	defer c.registry.Unregister(c)
	<-ctx.Done()
	return nil
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- resourcesMetric
	descriptions <- warningConditionsMetric
	c.operations.Describe(descriptions)
	c.conflicts.Describe(descriptions)
	c.ready.Describe(descriptions)
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, collectTimeout)
	defer cancel()
	for _, each := range []struct {
		kind string
		list client.ObjectList
	}{
		{"SeldonRuntime", &v1alpha1.SeldonRuntimeList{}},
		{"Server", &v1alpha1.ServerList{}},
		{"Model", &v1alpha1.ModelList{}},
		{"Pipeline", &v1alpha1.PipelineList{}},
		{"Experiment", &v1alpha1.ExperimentList{}},
	} {
		if err := c.reader.List(ctx, each.list, client.UnsafeDisableDeepCopy); err != nil {
			// An invalid metric would report it as well, but the manager's handler would then
			// serve no metrics at all.
			c.logOnce.Do(func() {
				ctrl.LoggerFrom(c.ctx).WithName("metrics").Error(err, "Objects cannot be counted", "list", fmt.Sprintf("%T", each.list))
			})
			continue
		}
		collectObjects(metrics, each.kind, each.list)
	}
	c.operations.Collect(metrics)
	c.conflicts.Collect(metrics)
	c.ready.Collect(metrics)
}

// collectObjects counts the objects of a list. A namespace with any has a number for
// each status of Ready, so that a status that no object has any more becomes 0.
func collectObjects(metrics chan<- prometheus.Metric, kind string, list client.ObjectList) {
	type series struct{ namespace, value string }
	objects, warnings := map[series]int{}, map[series]int{}
	eachItem(list, func(item client.Object) {
		object := item.(reconciler.Object)
		namespace := object.GetNamespace()
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			objects[series{namespace, string(status)}] += 0
		}
		ready := metav1.ConditionUnknown
		for _, condition := range object.GetConditions() {
			switch {
			case condition.Type == v1alpha1.ConditionReady:
				ready = condition.Status
			case condition.Status == metav1.ConditionTrue && (isWarningCondition(condition.Type) || condition.Type == v1alpha1.ConditionPaused):
				warnings[series{namespace, condition.Type}]++
			}
		}
		objects[series{namespace, string(ready)}]++
	})
	send := func(description *prometheus.Desc, counts map[series]int) {
		for labels, count := range counts {
			metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, float64(count), kind, labels.namespace, labels.value)
		}
	}
	send(resourcesMetric, objects)
	send(warningConditionsMetric, warnings)
}

// ChildrenChanged implements [reconciler.Metrics].
func (c *collector) ChildrenChanged(namespace, reason string, children []composition.ObjectRef) {
	for _, child := range children {
		c.operations.WithLabelValues(child.Kind, namespace, reason).Inc()
	}
}

// ConflictRetried implements [reconciler.Metrics].
func (c *collector) ConflictRetried(kind string) { c.conflicts.WithLabelValues(kind).Inc() }

// BecameReady implements [reconciler.Metrics]: it observes the time since the condition
// last changed its status, or since the object was created.
func (c *collector) BecameReady(kind string, object reconciler.Object, previous *metav1.Condition) {
	since := object.GetCreationTimestamp()
	if previous != nil {
		since = previous.LastTransitionTime
	}
	c.ready.WithLabelValues(kind).Observe(time.Since(since.Time).Seconds())
}

// deleteSeries deletes the metrics of a namespace without objects that expand into child
// objects.
func (s *shared) deleteSeries(ctx context.Context, namespace string) error {
	for _, list := range []client.ObjectList{&v1alpha1.SeldonRuntimeList{}, &v1alpha1.ServerList{}} {
		if err := s.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list the remaining objects in namespace %s: %w", namespace, err)
		}
		if meta.LenList(list) > 0 {
			return nil
		}
	}
	s.metrics.operations.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	return nil
}
