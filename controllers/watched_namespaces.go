package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// probeInterval is how often the listed namespaces are probed.
	probeInterval = 15 * time.Second
	// relogInterval is how often a problem that persists is logged again.
	relogInterval = 10 * time.Minute
)

var unwatchedMetric = prometheus.NewDesc("seldon_operator_unwatched_namespaces",
	"Always 1; a listed namespace that is not watched, because it or the operator's Role in it does not exist.", []string{"namespace"}, nil)

// WatchedNamespaces are the namespaces of a list, as they were found at the start.
//
// A cache that may not list objects in one of its namespaces is never synced, and until
// the caches are synced no replica becomes the leader and no controller works. So
// unavailable namespaces are left out, and do not affect the others.
type WatchedNamespaces struct {
	// Available are the namespaces to watch.
	Available []string
	// Unavailable are the others, with the API server's error: not found or forbidden. The
	// Role that allows to read a namespace is deleted with it, so that the two cannot
	// be distinguished.
	Unavailable map[string]error

	apiReader client.Reader
	requested []string
}

// ResolveNamespaces reads each namespace by its name, except for the operator's. A
// single namespace, and none, which means all, are not read: there are no others to
// protect, and a missing permission is reported by not being ready.
func ResolveNamespaces(ctx context.Context, apiReader client.Reader, operatorNamespace string, namespaces []string) (*WatchedNamespaces, error) {
	w := &WatchedNamespaces{Available: namespaces, Unavailable: map[string]error{}, apiReader: apiReader}
	if len(namespaces) < 2 {
		return w, nil
	}
	w.requested = slices.DeleteFunc(slices.Clone(namespaces), func(name string) bool { return name == operatorNamespace })
	for _, name := range w.requested {
		unavailable, err := w.probe(ctx, name)
		if err != nil {
			return nil, err
		}
		if unavailable != nil {
			w.Unavailable[name] = unavailable
		}
	}
	w.Available = slices.DeleteFunc(slices.Clone(namespaces), func(name string) bool { return w.Unavailable[name] != nil })
	return w, nil
}

// probe returns why a namespace cannot be watched; nil if it can.
func (w *WatchedNamespaces) probe(ctx context.Context, name string) (unavailable, err error) {
	err = w.apiReader.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return err, nil
	case err != nil:
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	default:
		return nil, nil
	}
}

// WaitForChange returns when the process must restart to use another set of namespaces:
// an unavailable namespace became available, or an available one disappeared before the
// initial sync of the caches, which would then never complete. Later disappearances are
// ignored on purpose: otherwise anyone who can revoke the operator's permissions in
// one namespace could restart it at will. Until then it logs the unavailable namespaces.
func (w *WatchedNamespaces) WaitForChange(ctx context.Context, synced func() bool) {
	if len(w.requested) == 0 {
		<-ctx.Done()
		return
	}
	log := ctrl.Log.WithName("namespaces")
	logged := time.Time{}
	for {
		if time.Since(logged) >= relogInterval {
			logged = time.Now()
			for _, name := range slices.Sorted(maps.Keys(w.Unavailable)) {
				log.Error(w.Unavailable[name], "A listed namespace is not watched, because it or the operator's Role in it does not exist. "+
					"Remove it from the list, or create it and the Role: the operator then restarts and watches it", "namespace", name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(probeInterval):
		}
		if name, changed := w.changed(ctx, synced()); changed {
			log.Info("A listed namespace became available or unavailable: exiting to be restarted", "namespace", name)
			return
		}
	}
}

// changed returns a namespace whose change requires a restart.
func (w *WatchedNamespaces) changed(ctx context.Context, synced bool) (name string, changed bool) {
	for _, name := range w.requested {
		before := w.Unavailable[name]
		if synced && before == nil {
			continue
		}
		// A namespace that cannot be read for another reason has not changed.
		if now, err := w.probe(ctx, name); err == nil && (now == nil) != (before == nil) {
			return name, true
		}
	}
	return "", false
}

// Describe implements [prometheus.Collector].
func (w *WatchedNamespaces) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- unwatchedMetric
}

// Collect implements [prometheus.Collector]. Every replica of the operator registers it.
func (w *WatchedNamespaces) Collect(metrics chan<- prometheus.Metric) {
	for name := range w.Unavailable {
		metrics <- prometheus.MustNewConstMetric(unwatchedMetric, prometheus.GaugeValue, 1, name)
	}
}
