package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// oneModel has a Model, and cannot list Servers.
type oneModel struct{ client.Reader }

func (oneModel) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.ServerList:
		return errors.New("the cache is broken")
	case *v1alpha1.ModelList:
		list.Items = make([]v1alpha1.Model, 1)
	}
	return nil
}

// A list that fails affects neither the other lists nor other metrics, and is logged, but
// not at each scrape.
func TestCollectWithoutAccessToAKind(t *testing.T) {
	var logged []string
	log := funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})
	registry := prometheus.NewPedanticRegistry()
	metrics := newCollector(oneModel{}, registry)
	metrics.ctx = logr.NewContext(t.Context(), log)
	metrics.ChildrenChanged("team", "Pruned", make([]composition.ObjectRef, 1))
	registry.MustRegister(metrics)
	for range 2 {
		families, err := registry.Gather()
		if err != nil || len(families) != 2 || families[0].GetName() != "seldon_operator_child_operations_total" || len(families[1].GetMetric()) != 3 {
			t.Errorf("got %v, %v, want changes, and the objects of one kind by three statuses", families, err)
		}
	}
	if len(logged) != 1 || !strings.Contains(logged[0], "ServerList") || !strings.Contains(logged[0], "the cache is broken") {
		t.Errorf("logged %q, want one line", logged)
	}
}
