package controllers

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Reconcilers are those of the kinds with child objects, for tests that call them.
type Reconcilers struct {
	Runtimes, Servers reconcile.Reconciler
	composers         []*reconciler.Composer
}

// NewReconcilers returns the reconcilers of a manager whose cache has [CacheOptions].
func NewReconcilers(ctx context.Context, mgr manager.Manager, options Options) (*Reconcilers, error) {
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), inputs.RuntimeKinds()); err != nil {
		return nil, err
	}
	runtimes, servers, err := newReconcilers(newShared(ctx, mgr, options), templates.Files)
	if err != nil {
		return nil, err
	}
	return &Reconcilers{Runtimes: runtimes, Servers: servers, composers: []*reconciler.Composer{runtimes.Composer, servers.Composer}}, nil
}

// Remembered counts the objects that they remember, by what is remembered of them.
func (r *Reconcilers) Remembered() map[string]int {
	counts := map[string]int{}
	for _, composer := range r.composers {
		for what, number := range remembered(composer) {
			counts[what] += number
		}
	}
	return counts
}

func remembered(composer *reconciler.Composer) map[string]int {
	return map[string]int{
		"owners":  composer.Engine.Remembered(),
		"objects": composer.Remembered(),
	}
}
