// Command monitoring checks manifests for Prometheus and Grafana, as `kustomize
// build` writes them, with the parsers of Prometheus and its operator:
//
//	kustomize build OVERLAY | monitoring
//
// Objects of monitoring.coreos.com must have no field that the operator for
// Prometheus does not know, and expressions in rules and dashboards must be
// PromQL. It prints, as JSON, each expression with the metrics that it reads and
// the labels that it needs of them, for a test that compares these with what is
// served. It is a module of its own, so that Prometheus is no dependency of ours.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// expression is one of a rule or a dashboard.
type expression struct {
	// Where it stands: an alert, or a panel of a dashboard.
	Where string `json:"where"`
	// Text is the PromQL.
	Text string `json:"text"`
	// Metrics that it reads, each with the labels that it is selected and grouped
	// by.
	Metrics map[string][]string `json:"metrics"`
	// Values that the expression names for a label, each on its own where it
	// offers several, such as a|b.
	Values map[string][]string `json:"values"`
}

func main() {
	expressions, err := check(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(expressions)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(from io.Reader) ([]expression, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	var found []expression
	var failed []error
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var object struct {
			APIVersion string            `json:"apiVersion"`
			Kind       string            `json:"kind"`
			Data       map[string]string `json:"data"`
			Metadata   struct {
				Name   string            `json:"name"`
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, err
		}
		var these []expression
		switch {
		case object.APIVersion == "monitoring.coreos.com/v1":
			these, err = monitor(object.Kind, document)
		case object.Kind == "ConfigMap" && object.Metadata.Labels["grafana_dashboard"] != "":
			these, err = dashboards(object.Data)
		default:
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", object.Kind, object.Metadata.Name, err))
		}
		found = append(found, these...)
	}
	return found, errors.Join(failed...)
}

// monitor decodes an object of Prometheus' operator, strictly.
func monitor(kind string, document []byte) ([]expression, error) {
	switch kind {
	case "ServiceMonitor":
		return nil, yaml.UnmarshalStrict(document, &monitoringv1.ServiceMonitor{})
	case "PodMonitor":
		return nil, yaml.UnmarshalStrict(document, &monitoringv1.PodMonitor{})
	case "PrometheusRule":
		rules := &monitoringv1.PrometheusRule{}
		if err := yaml.UnmarshalStrict(document, rules); err != nil {
			return nil, err
		}
		var found []expression
		var failed []error
		for _, group := range rules.Spec.Groups {
			for _, rule := range group.Rules {
				read, err := parse("alert "+rule.Alert, rule.Expr.String())
				found, failed = append(found, read), append(failed, err)
			}
		}
		return found, errors.Join(failed...)
	}
	return nil, errors.New("this kind has no check")
}

// dashboards reads the expressions of Grafana's panels.
func dashboards(files map[string]string) ([]expression, error) {
	var found []expression
	var failed []error
	for name, text := range files {
		var dashboard struct {
			Panels []struct {
				Title   string `json:"title"`
				Targets []struct {
					Expr string `json:"expr"`
				} `json:"targets"`
			} `json:"panels"`
		}
		if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		// What Grafana puts in for its variables.
		variables := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*")
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				read, err := parse("panel "+panel.Title, variables.Replace(target.Expr))
				found, failed = append(found, read), append(failed, err)
			}
		}
	}
	return found, errors.Join(failed...)
}

// parse reads an expression.
func parse(where, text string) (expression, error) {
	read := expression{Where: where, Text: text, Metrics: map[string][]string{}, Values: map[string][]string{}}
	root, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return read, fmt.Errorf("%s: %w", where, err)
	}
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		var needed []string
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name == model.MetricNameLabel {
				continue
			}
			needed = append(needed, matcher.Name)
			for value := range strings.SplitSeq(matcher.Value, "|") {
				// A pattern is no value.
				if regexp.QuoteMeta(value) == value || matcher.Type == labels.MatchEqual {
					read.Values[matcher.Name] = append(read.Values[matcher.Name], value)
				}
			}
		}
		for _, above := range path {
			if aggregate, is := above.(*parser.AggregateExpr); is && !aggregate.Without {
				needed = append(needed, aggregate.Grouping...)
			}
		}
		needed = append(read.Metrics[selector.Name], needed...)
		slices.Sort(needed)
		read.Metrics[selector.Name] = slices.Compact(needed)
		return nil
	})
	return read, nil
}
