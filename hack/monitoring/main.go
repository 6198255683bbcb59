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

// expression is one of a rule or a dashboard.
type expression struct {
	// Where it stands: an alert, or a panel of a dashboard.
	Where string `json:"where"`
	// Text is the PromQL.
	Text string `json:"text"`
	// Metrics that it reads, each with the labels that it is selected and grouped
	// by. With a label go the values that it is selected by, as regular expressions
	// without anchors, each on its own where there are several, such as a|b.
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

// dashboards reads the expressions of Grafana's: those of panels, wherever they are,
// and the queries that give a variable its values.
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
		// What Grafana puts in for its variables.
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

// eachExpression goes through a dashboard, also into rows and their panels, and tells
// expressions with the title that they stand under.
func eachExpression(value any, title string, tell func(title, text string)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			eachExpression(item, title, tell)
		}
	case map[string]any:
		if own, has := value["title"].(string); has {
			title = own
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if text, is := value[key].(string); is && key == "expr" {
				tell(title, text)
			}
			eachExpression(value[key], title, tell)
		}
	}
}

// valuesOf is Grafana's function for the values of a label.
var valuesOf = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// queryOf is the query of a variable as PromQL, which has no such function.
func queryOf(query any) (string, error) {
	if object, is := query.(map[string]any); is {
		query = object["query"]
	}
	text, _ := query.(string)
	parts := valuesOf.FindStringSubmatch(text)
	if parts == nil {
		return "", fmt.Errorf("variable: %q has no check", text)
	}
	return fmt.Sprintf("group by (%s) (%s)", parts[2], parts[1]), nil
}

// parse reads an expression.
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

// patterns are the values that a matcher names.
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
