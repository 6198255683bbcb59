package main

import (
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestBuildMetric(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(buildMetric())
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "seldon_operator_build_info" {
		t.Fatalf("got %v, %v", families, err)
	}
	metric := families[0].GetMetric()[0]
	labels := map[string]string{}
	for _, label := range metric.GetLabel() {
		labels[label.GetName()] = label.GetValue()
	}
	if metric.GetGauge().GetValue() != 1 || labels["goversion"] != runtime.Version() || labels["version"] == "" {
		t.Errorf("got %v with labels %v", metric, labels)
	}
}
