package controllers

import (
	"context"
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Reconcilers are those of owners, for tests that call them themselves.
type Reconcilers struct {
	Runtimes, Servers reconcile.Reconciler
	environments      []environment
}

// NewReconcilers makes them on a manager whose cache has [CacheOptions].
func NewReconcilers(ctx context.Context, mgr manager.Manager, options Options) (*Reconcilers, error) {
	compiled, err := composition.NewTemplates(templates.Files)
	if err != nil {
		return nil, err
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), kinds()); err != nil {
		return nil, err
	}
	shared := newEnvironment(ctx, mgr, options)
	forRuntimes, err := shared.withEngine(compiled, kinds())
	if err != nil {
		return nil, err
	}
	forServers, err := shared.withEngine(compiled, serverKinds())
	return &Reconcilers{
		Runtimes: &seldonRuntimeReconciler{forRuntimes}, Servers: &serverReconciler{forServers},
		environments: []environment{forRuntimes, forServers},
	}, err
}

// Remembered counts the objects that they remember, by what is remembered of them.
func (r *Reconcilers) Remembered() map[string]int {
	counts := map[string]int{}
	for _, env := range r.environments {
		for what, number := range env.remembered() {
			counts[what] += number
		}
	}
	return counts
}

func (e environment) remembered() map[string]int {
	return map[string]int{
		"owners":   reflect.ValueOf(e.engine).Elem().FieldByName("ledger").Elem().FieldByName("owners").Len(),
		"versions": len(e.versions.written),
		"failures": len(e.failures.objects),
	}
}
