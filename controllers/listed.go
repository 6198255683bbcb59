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

// listedPoll is how often is looked whether listed namespaces have come or gone.
const listedPoll = 15 * time.Second

// tellAgain is how often is told again what is still missing.
const tellAgain = 10 * time.Minute

var unwatchedMetric = prometheus.NewDesc("seldon_operator_unwatched_namespaces",
	"Always 1; a listed namespace that is not watched, since it or the operator's Role in it is not there.", []string{"namespace"}, nil)

// Listed are the namespaces of a list, as they were found at the start.
//
// A cache that may not list in one namespace is never synced, and before the caches
// are synced nobody leads and no controller works. So a namespace that is not there
// is left out of them, and costs the others nothing.
type Listed struct {
	// Present are those to watch.
	Present []string
	// Absent are the others, with the API server's answer: not found, or forbidden. The
	// Role that allows to ask goes with its namespace, so the two are as good as one.
	Absent map[string]error

	live  client.Reader
	asked []string
}

// FindListed asks for each namespace by its name, but for own, the operator's. A
// single one, and none, which stands for all, are taken as they are: there are no
// others to keep from harm, and what is missing is told by not being ready.
func FindListed(ctx context.Context, live client.Reader, own string, namespaces []string) (*Listed, error) {
	l := &Listed{Present: namespaces, Absent: map[string]error{}, live: live}
	if len(namespaces) < 2 {
		return l, nil
	}
	isOwn := func(name string) bool { return name == own }
	l.asked = slices.DeleteFunc(slices.Clone(namespaces), isOwn)
	for _, name := range l.asked {
		absence, err := l.absence(ctx, name)
		if err != nil {
			return nil, err
		}
		if absence != nil {
			l.Absent[name] = absence
		}
	}
	l.Present = slices.DeleteFunc(slices.Clone(namespaces), func(name string) bool { return l.Absent[name] != nil })
	return l, nil
}

// absence is why a namespace cannot be worked in; nil if it is there.
func (l *Listed) absence(ctx context.Context, name string) (absence, err error) {
	err = l.live.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return err, nil
	case err != nil:
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	default:
		return nil, nil
	}
}

// UntilChanged returns when the operator has to begin anew: an absent namespace is
// there, or a present one went before the caches were synced, which they would then
// never be. One that goes later costs the others nothing, and must not: who has a say
// over rights in one namespace could else stop the operator again and again. Until
// then it tells of those that are absent.
func (l *Listed) UntilChanged(ctx context.Context, synced func() bool) {
	if len(l.asked) == 0 {
		<-ctx.Done()
		return
	}
	log := ctrl.Log.WithName("namespaces")
	told := time.Time{}
	for {
		if time.Since(told) >= tellAgain {
			told = time.Now()
			for _, name := range slices.Sorted(maps.Keys(l.Absent)) {
				log.Error(l.Absent[name], "A listed namespace is not watched: it is gone or was never there, or the operator's Role in it is missing. "+
					"Take it off the list, or make it and the Role, and it is watched", "namespace", name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listedPoll):
		}
		if name, changed := l.changed(ctx, synced()); changed {
			log.Info("A listed namespace has come or gone: ending, to begin anew", "namespace", name)
			return
		}
	}
}

// changed names a namespace that makes a new beginning necessary.
func (l *Listed) changed(ctx context.Context, synced bool) (name string, changed bool) {
	for _, name := range l.asked {
		was := l.Absent[name]
		if synced && was == nil {
			continue
		}
		// Who cannot be asked has not changed.
		if is, err := l.absence(ctx, name); err == nil && (is == nil) != (was == nil) {
			return name, true
		}
	}
	return "", false
}

// Describe implements [prometheus.Collector].
func (l *Listed) Describe(to chan<- *prometheus.Desc) { to <- unwatchedMetric }

// Collect implements [prometheus.Collector]. Each replica tells it.
func (l *Listed) Collect(to chan<- prometheus.Metric) {
	for name := range l.Absent {
		to <- prometheus.MustNewConstMetric(unwatchedMetric, prometheus.GaugeValue, 1, name)
	}
}
