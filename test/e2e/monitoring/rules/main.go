// Command monitoring checks manifests for Prometheus and Grafana, as `kustomize
// build` writes them, with the parsers of Prometheus and its operator:
//
//	kustomize build OVERLAY | monitoring
//
// Objects of monitoring.coreos.com must have only fields that Prometheus' operator
// knows, and expressions in rules and dashboards must be valid PromQL. It prints, as
// JSON, each expression with its metrics and their labels, for a test that compares
// them with the served metrics. It is a Go module of its own, so that the operator
// does not depend on Prometheus.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

// expression is a PromQL expression of a rule or a dashboard.
type expression struct {
	// Where names the alert, the panel or the variable of the expression.
	Where string `json:"where"`
	// Text is the PromQL.
	Text string `json:"text"`
	// Metrics maps each metric to the labels that it is selected and grouped by, and
	// each label to its selected values: regular expressions without anchors, one per
	// alternative of a|b.
	Metrics map[string]map[string][]string `json:"metrics"`
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

// check returns the expressions in a stream of YAML documents.
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
		var expressions []expression
		switch {
		case object.APIVersion == "monitoring.coreos.com/v1":
			expressions, err = monitor(object.Kind, document)
		case object.Kind == "ConfigMap" && object.Metadata.Labels["grafana_dashboard"] != "":
			expressions, err = dashboards(object.Data)
		default:
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", object.Kind, object.Metadata.Name, err))
		}
		found = append(found, expressions...)
	}
	return found, errors.Join(failed...)
}

// monitor decodes an object of Prometheus' operator strictly, and returns its
// expressions.
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
	return nil, errors.New("checks for this kind are not implemented")
}

// dashboards returns the expressions of Grafana dashboards: those of panels, also in
// rows, and the queries of variables.
func dashboards(files map[string]string) ([]expression, error) {
	var found []expression
	var failed []error
	add := func(where, text string) {
		read, err := parse(where, text)
		found, failed = append(found, read), append(failed, err)
	}
	for name, text := range files {
		var dashboard struct {
			Templating struct {
				List []struct {
					Name, Type string
					Query      any
				}
			}
		}
		var everything any
		if err := errors.Join(json.Unmarshal([]byte(text), &dashboard), json.Unmarshal([]byte(text), &everything)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		// Grafana replaces variables by values such as these.
		replaced := []string{"$__rate_interval", "5m"}
		for _, variable := range dashboard.Templating.List {
			replaced = append(replaced, "$"+variable.Name, ".*")
		}
		variables := strings.NewReplacer(replaced...)
		for _, variable := range dashboard.Templating.List {
			if variable.Type == "query" {
				text, err := queryOf(variable.Query)
				failed = append(failed, err)
				add("variable "+variable.Name, variables.Replace(text))
			}
		}
		eachExpression(everything, "", func(title, text string) { add("panel "+title, variables.Replace(text)) })
	}
	return found, errors.Join(failed...)
}

// eachExpression walks a dashboard, including rows and their panels, and calls visit
// for each expression with the title of its panel.
func eachExpression(value any, title string, visit func(title, text string)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			eachExpression(item, title, visit)
		}
	case map[string]any:
		if own, has := value["title"].(string); has {
			title = own
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if text, is := value[key].(string); is && key == "expr" {
				visit(title, text)
			}
			eachExpression(value[key], title, visit)
		}
	}
}

// valuesOf matches Grafana's function for the values of a label.
var valuesOf = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// queryOf returns the query of a variable as PromQL, which does not have that function.
func queryOf(query any) (string, error) {
	if object, is := query.(map[string]any); is {
		query = object["query"]
	}
	text, _ := query.(string)
	parts := valuesOf.FindStringSubmatch(text)
	if parts == nil {
		return "", fmt.Errorf("variable: the query %q is not supported", text)
	}
	return fmt.Sprintf("group by (%s) (%s)", parts[2], parts[1]), nil
}

// parse parses a PromQL expression.
func parse(where, text string) (expression, error) {
	read := expression{Where: where, Text: text, Metrics: map[string]map[string][]string{}}
	root, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return read, fmt.Errorf("%s: %w", where, err)
	}
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		needed := read.Metrics[selector.Name]
		if needed == nil {
			needed = map[string][]string{}
			read.Metrics[selector.Name] = needed
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != model.MetricNameLabel {
				needed[matcher.Name] = append(needed[matcher.Name], patterns(matcher)...)
			}
		}
		for _, above := range path {
			if aggregate, is := above.(*parser.AggregateExpr); is && !aggregate.Without {
				for _, label := range aggregate.Grouping {
					if _, has := needed[label]; !has {
						needed[label] = nil
					}
				}
			}
		}
		return nil
	})
	return read, nil
}

// patterns returns the values that a matcher selects.
func patterns(matcher *labels.Matcher) []string {
	values := matcher.SetMatches()
	switch {
	case matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchNotEqual:
		values = []string{matcher.Value}
	case len(values) == 0:
		return []string{matcher.Value}
	}
	for i := range values {
		values[i] = regexp.QuoteMeta(values[i])
	}
	return values
}
