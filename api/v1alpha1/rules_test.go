package v1alpha1_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// fields are the values to set in a complete manifest, by path, such as
// "spec.steps[0].name". A nil value removes the field.
type fields map[string]any

// rule is a validation rule of the schema, with an object that it accepts and one that it
// rejects.
type rule struct {
	kind string
	// path and keyword identify the rule. The keyword of a CEL rule is its message.
	path, keyword string
	// rejected is nil if another entry of the table has the object.
	rejected, accepted fields
	// field and message are those of the error; field defaults to path.
	field, message string
	// unstorable is true if no such object can be stored: the API server rejects it
	// because of the scale subresource, or the upstream schema has the rule too.
	unstorable bool
}

// rules are all rules of this API's schemas, which TestEveryRuleIsListed checks.
var rules = slices.Concat(
	rulesOfModels(), rulesOfPipelines(), rulesOfExperiments(), rulesOfServers(), rulesOfConfigs(), rulesOfRuntimes(),
)

const (
	int32Max  = 1<<31 - 1
	int32Min  = -1 << 31
	uint32Max = 1<<32 - 1
)

func between(kind, path string, minimum, maximum int64) []rule {
	return []rule{
		{
			kind: kind, path: path, keyword: "minimum", rejected: fields{path: minimum - 1}, accepted: fields{path: minimum},
			message: fmt.Sprintf("should be greater than or equal to %d", minimum),
		},
		{
			kind: kind, path: path, keyword: "maximum", rejected: fields{path: maximum + 1}, accepted: fields{path: maximum},
			message: fmt.Sprintf("should be less than or equal to %d", maximum),
		},
	}
}

func notEmpty(kind, path string) rule {
	return rule{
		kind: kind, path: path, keyword: "minLength", rejected: fields{path: ""}, accepted: fields{path: "x"},
		message: "should be at least 1 chars long",
	}
}

// noEmptyItem is for lists of references to steps of pipelines.
func noEmptyItem(path string) rule {
	return rule{
		kind: v1alpha1.KindPipeline, path: path + "[0]", keyword: "minLength",
		rejected: fields{path: []any{""}}, accepted: fields{path: []any{"x.outputs"}},
		message: "should be at least 1 chars long",
	}
}

func atMostLong(kind, path string, length int) rule {
	return rule{
		kind: kind, path: path, keyword: "maxLength",
		rejected: fields{path: strings.Repeat("x", length+1)}, accepted: fields{path: strings.Repeat("x", length)},
		message: fmt.Sprintf("may not be more than %d bytes", length),
	}
}

func oneOf(kind, path, rejected string, accepted ...string) []rule {
	list := []rule{{
		kind: kind, path: path, keyword: "enum", rejected: fields{path: rejected}, accepted: fields{path: accepted[0]},
		message: `Unsupported value: "` + rejected + `"`,
	}}
	for _, value := range accepted[1:] {
		list = append(list, rule{kind: kind, path: path, keyword: "enum", accepted: fields{path: value}})
	}
	return list
}

func unique(kind, path string, item fields) rule {
	other := maps.Clone(item)
	other["name"] = "other"
	return rule{
		kind: kind, path: path, keyword: "listType=map", field: path + "[1]",
		rejected: fields{path: []any{item, item}}, accepted: fields{path: []any{item, other}},
		message: `Duplicate value: {"name":"` + item["name"].(string) + `"}`,
	}
}

func atMost(kind, path string, items int, item fields) rule {
	return atMostOf(kind, path, items, func(i int) any {
		next := maps.Clone(item)
		next["name"] = "x" + strconv.Itoa(i)
		return next
	})
}

func atMostTexts(kind, path string) rule {
	return atMostOf(kind, path, 1024, func(i int) any { return "x" + strconv.Itoa(i) })
}

func atMostOf(kind, path string, items int, item func(i int) any) rule {
	var list []any
	for i := range items + 1 {
		list = append(list, item(i))
	}
	return rule{
		kind: kind, path: path, keyword: "maxItems", rejected: fields{path: list}, accepted: fields{path: list[:items]},
		message: fmt.Sprintf("must have at most %d items", items),
	}
}

func needsSpec(kind, message string) rule {
	return rule{
		kind: kind, path: "", keyword: message, rejected: fields{"spec": nil}, accepted: fields{},
		field: "<nil>", message: message,
	}
}

// inOrder returns the rules of a ScalingSpec at path.
func inOrder(kind, path string) []rule {
	number := func(replicas, minimum, maximum any) fields {
		return fields{path + ".replicas": replicas, path + ".minReplicas": minimum, path + ".maxReplicas": maximum}
	}
	const (
		minimum = "minReplicas exceeds maxReplicas: lower minReplicas or raise maxReplicas (0 means no limit)"
		below   = "replicas is below minReplicas: raise replicas or lower minReplicas"
		above   = "replicas exceeds maxReplicas: lower replicas or raise maxReplicas (0 means no limit)"
	)
	at := func(field, message string, rejected, accepted fields) rule {
		return rule{
			kind: kind, path: path, keyword: message, field: path + "." + field, message: message,
			rejected: rejected, accepted: accepted,
		}
	}
	replicas := between(kind, path+".replicas", 0, v1alpha1.MaxReplicas)
	for i := range replicas {
		replicas[i].unstorable = path == "spec" && replicas[i].keyword == "minimum"
	}
	return slices.Concat(
		replicas,
		between(kind, path+".minReplicas", 0, v1alpha1.MaxReplicas),
		between(kind, path+".maxReplicas", int32Min, int32Max),
		[]rule{
			at("minReplicas", minimum, number(nil, 3, 1), number(nil, 3, 3)),
			at("minReplicas", minimum, number(nil, 3, 2), number(nil, 3, 0)),
			at("minReplicas", minimum, number(nil, 3, 2), number(nil, 3, -1)),
			at("replicas", below, number(1, 2, 4), number(2, 2, 4)),
			at("replicas", below, number(0, 1, nil), number(0, 0, nil)),
			at("replicas", above, number(5, 1, 4), number(4, 1, 4)),
			at("replicas", above, number(5, nil, 4), number(5, nil, 0)),
			at("replicas", above, number(5, nil, 4), number(5, nil, -1)),
		},
	)
}

// TestRules creates an object that each rule rejects, and one that it accepts.
func TestRules(t *testing.T) {
	c := apiServer(t)
	for i, rule := range rules {
		t.Run(rule.title(i), func(t *testing.T) {
			object, err := rule.object(rule.accepted, i)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
				t.Errorf("rejects what it should accept: %v", err)
			}
			if rule.rejected == nil {
				return
			}
			if object, err = rule.object(rule.rejected, i); err != nil {
				t.Fatal(err)
			}
			err = c.Create(t.Context(), object, client.DryRunAll)
			if !apierrors.IsInvalid(err) {
				t.Fatalf("accepts what it should reject: %v", err)
			}
			rule.explains(t, err)
		})
	}
}

func (r rule) title(i int) string {
	what, _, _ := strings.Cut(r.keyword, ":")
	return fmt.Sprintf("%d %s %s %s", i, r.kind, r.path, what)
}

// object returns a complete object with the fields set. Its name contains i, unless the
// fields set a name.
func (r rule) object(set fields, i int) (*unstructured.Unstructured, error) {
	object, err := complete(r.kind)
	if err != nil {
		return nil, err
	}
	object.SetName(fmt.Sprintf("rule-%d", i))
	for path, value := range set {
		if err := setField(object.Object, path, value); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// longer matches how older versions of Kubernetes report a text that exceeds maxLength.
var longer = regexp.MustCompile(`may not be longer than (\d+)`)

// currentMessage returns a message of Kubernetes in the form of the newest version.
func currentMessage(message string) string {
	message = longer.ReplaceAllString(message, "may not be more than $1 bytes")
	return strings.ReplaceAll(message, "map[string]interface {}{", "{")
}

// explains checks that err names the field and the remedy, and has no other cause.
func (r rule) explains(t *testing.T, err error) {
	t.Helper()
	field := r.field
	if field == "" {
		field = r.path
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		t.Fatalf("want a status with a cause: %v", err)
	}
	found := false
	for _, cause := range status.Status().Details.Causes {
		switch {
		case cause.Field == field && strings.Contains(currentMessage(cause.Message), r.message):
			found = true
		case cause.Field == "."+field, strings.Contains(cause.Message, "some validation rules were not checked"):
			// The API server adds these.
		default:
			t.Errorf("unexpected cause %s: %s", cause.Field, cause.Message)
		}
	}
	if !found {
		t.Errorf("want %s: %s, got %v", field, r.message, err)
	}
}

// setField sets or removes the field at a path such as "spec.steps[0].name";
// missing parent objects are created.
func setField(object map[string]any, path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	here := object
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		name, index, isItem := strings.Cut(step, "[")
		if !isItem {
			if here[name] == nil {
				here[name] = map[string]any{}
			}
			here = here[name].(map[string]any)
			continue
		}
		i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		list, _ := here[name].([]any)
		if i >= len(list) {
			return fmt.Errorf("%s: the complete manifest has no %s", path, step)
		}
		here = list[i].(map[string]any)
	}
	last := steps[len(steps)-1]
	if value == nil {
		delete(here, last)
	} else {
		here[last] = value
	}
	return nil
}

// TestEveryRuleIsListed compares the rules in the CRDs with those of the table.
func TestEveryRuleIsListed(t *testing.T) {
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, crd := range crds {
		collect(found, crd.Spec.Names.Kind, crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	listed := map[string]bool{}
	for _, rule := range rules {
		var path []string
		for step := range strings.SplitSeq(rule.path, ".") {
			name, _, isItem := strings.Cut(step, "[")
			if isItem {
				name += "[]"
			}
			path = append(path, name)
		}
		listed[rule.kind+" "+strings.Join(path, ".")+" "+rule.keyword] = true
	}
	for name := range found {
		if !listed[name] {
			t.Errorf("the table does not have %s", name)
		}
	}
	for name := range listed {
		if !found[name] {
			t.Errorf("no CRD has %s", name)
		}
	}
	if len(found) < 100 {
		t.Errorf("found %d rules only", len(found))
	}
}

// TestEveryListIsBounded checks that every list that this API defines has a maximum length,
// and so do the lists of containers and volumes that a Server or a runtime may set.
func TestEveryListIsBounded(t *testing.T) {
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, crd := range crds {
		check := func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			if schema.Type != "array" {
				return
			}
			lists++
			if schema.MaxItems == nil {
				t.Errorf("%s %s has no bound", crd.Spec.Names.Kind, path)
			}
		}
		walkOwn("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			check(path, schema)
			pod, found := schema.Properties["podSpec"]
			if !found || crd.Spec.Names.Kind == v1alpha1.KindServerConfig || crd.Spec.Names.Kind == v1alpha1.KindSeldonConfig {
				return // Those have Kubernetes' own type.
			}
			for _, name := range []string{"containers", "initContainers", "volumes"} {
				list := pod.Properties[name]
				check(path+".podSpec."+name, &list)
			}
		})
	}
	if lists < 20 {
		t.Errorf("found %d lists only", lists)
	}
}

// TestEveryNumberIsBounded checks that every number that this API defines has bounds.
func TestEveryNumberIsBounded(t *testing.T) {
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	numbers := 0
	for _, crd := range crds {
		walkOwn("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			if schema.Type != "integer" && schema.Type != "number" {
				return
			}
			numbers++
			if schema.Minimum == nil || schema.Maximum == nil {
				t.Errorf("%s %s has no bounds", crd.Spec.Names.Kind, path)
			}
		})
	}
	if numbers == 0 {
		t.Error("found no number")
	}
}

// collect returns the rules that this API adds to a schema.
func collect(found map[string]bool, kind string, root *apiextensionsv1.JSONSchemaProps) {
	walkOwn("", root, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		add := func(has bool, keyword string) {
			if has {
				found[kind+" "+path+" "+keyword] = true
			}
		}
		add(schema.Minimum != nil, "minimum")
		add(schema.Maximum != nil, "maximum")
		add(schema.MinLength != nil, "minLength")
		add(schema.MaxLength != nil, "maxLength")
		add(schema.MinItems != nil, "minItems")
		add(schema.MaxItems != nil, "maxItems")
		add(len(schema.Enum) > 0, "enum")
		add(schema.Pattern != "", "pattern")
		add(schema.XListType != nil && *schema.XListType == "map", "listType=map")
		for _, validation := range schema.XValidations {
			add(true, validation.Message)
		}
	})
}

// walkOwn visits the parts of a schema that this API defines: all but status and the types of
// Kubernetes.
func walkOwn(path string, schema *apiextensionsv1.JSONSchemaProps, visit func(path string, schema *apiextensionsv1.JSONSchemaProps)) {
	visit(path, schema)
	for name, property := range schema.Properties {
		switch {
		case name == "status" && path == "", name == "podSpec", name == "imageOverrides",
			name == "spec" && strings.HasSuffix(path, "volumeClaimTemplates[]"):
		default:
			walkOwn(strings.TrimPrefix(path+"."+name, "."), &property, visit)
		}
	}
	if schema.Items != nil {
		walkOwn(path+"[]", schema.Items.Schema, visit)
	}
}
