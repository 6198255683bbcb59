// Command reference writes the reference of the custom resources: the type, default,
// bounds and meaning of every field. Its input are the CustomResourceDefinitions that
// controller-gen generates with descriptions, which are the doc comments of the Go types:
//
//	controller-gen crd paths=./api/... output:crd:artifacts:config=dist/described
//	go run ./hack/reference dist/described hack/reference/examples docs/reference/custom-resources.md
//
// The page is generated from the schema and not from the Go types, so that it describes
// what the API server does.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: reference DEFINITIONS EXAMPLES PAGE")
		os.Exit(2)
	}
	page, err := render(os.Args[1], os.Args[2])
	if err == nil {
		err = os.WriteFile(os.Args[3], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kinds in the order of the page: those of a platform team, those that a team installs,
// and those that it serves.
var kinds = []string{"SeldonConfig", "ServerConfig", "SeldonRuntime", "Server", "Model", "Pipeline", "Experiment"}

const preamble = `# Reference of the custom resources

<!-- Generated from the doc comments in api/v1alpha1 by "make manifests"; do not edit. -->

All kinds belong to the API ` + "`mlops.seldon.io/v1alpha1`" + ` and are namespaced.
The API server rejects an object that violates a bound or a rule of this page, with a message that names it.
` + "`[]`" + ` stands for each item of a list, ` + "`{}`" + ` for each key of a map.
An unset field without a default is inherited from the layer below, if there is one (see [merge rules](merge-rules.md)).
Otherwise it is false, 0 or empty, unless the description of the field has another default.
The types of Kubernetes link to the reference of Kubernetes.

`

// render returns the page.
func render(definitions, examples string) ([]byte, error) {
	crds, err := read(definitions)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	page.WriteString(preamble)
	for _, kind := range kinds {
		fmt.Fprintf(&page, "- [%s](#%s)\n", kind, strings.ToLower(kind))
	}
	for _, kind := range kinds {
		crd, found := crds[kind]
		if !found {
			return nil, fmt.Errorf("%s: no definition of kind %s", definitions, kind)
		}
		delete(crds, kind)
		example, err := os.ReadFile(filepath.Join(examples, strings.ToLower(kind)+".yaml"))
		if err != nil {
			return nil, err
		}
		if err := writeKind(&page, crd, strings.TrimSpace(string(example))); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	for kind := range crds {
		return nil, fmt.Errorf("kind %s has no place on the page: add it to kinds", kind)
	}
	return page.Bytes(), nil
}

func read(directory string) (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		return nil, err
	}
	found := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		found[crd.Spec.Names.Kind] = crd
	}
	return found, nil
}

func writeKind(page *bytes.Buffer, crd *apiextensionsv1.CustomResourceDefinition, example string) error {
	names, version := crd.Spec.Names, crd.Spec.Versions[0]
	root := *version.Schema.OpenAPIV3Schema
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n", names.Kind, sentence(root.Description))
	fmt.Fprintf(page, "`kubectl get %s`", names.Plural)
	if len(names.ShortNames) > 0 {
		fmt.Fprintf(page, ", or `%s`", strings.Join(names.ShortNames, "`, `"))
	}
	if version.Subresources != nil && version.Subresources.Scale != nil {
		page.WriteString("; it has the subresource `scale`")
	}
	fmt.Fprintf(page, ".%s\n\n```yaml\n%s\n```\n", rulesOf(root), example)
	for _, part := range []string{"spec", "status"} {
		schema := root.Properties[part]
		if len(schema.Properties) == 0 {
			continue
		}
		fmt.Fprintf(page, "\n### %s: `%s`\n\n", names.Kind, part)
		if rules := rulesOf(schema); rules != "" {
			page.WriteString(strings.TrimSpace(rules) + "\n\n")
		}
		page.WriteString("| field | type | default | meaning |\n|---|---|---|---|\n")
		if err := writeFields(page, part, schema); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere are the fields whose type is described on another page, by the suffix of their
// path. Their row has a link.
var elsewhere = []struct{ path, name, link string }{
	{"podSpec", "PodSpec", "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodSpec"},
	{"volumeClaimTemplates[].spec", "PersistentVolumeClaimSpec", "https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/#PersistentVolumeClaimSpec"},
	{"conditions", "conditions", "conditions-and-events.md"},
	{"imageOverrides.agent", "Container", "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container"},
	{"imageOverrides.rclone", "Container", "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container"},
}

// writeFields writes a row for each field of an object and of its descendants. It returns
// an error for a field without a doc comment.
func writeFields(page *bytes.Buffer, path string, object apiextensionsv1.JSONSchemaProps) error {
	for _, name := range slices.Sorted(maps.Keys(object.Properties)) {
		field := object.Properties[name]
		at := path + "." + name
		if strings.Contains(name, ".") {
			at = path + `["` + name + `"]`
		}
		if field.Description == "" {
			return fmt.Errorf("%s has no doc comment", at)
		}
		fallback := ""
		switch {
		case field.Default != nil:
			fallback = code(field.Default.Raw)
		case slices.Contains(object.Required, name):
			fallback = "required"
		}
		kind := typeOf(field)
		own := true
		for _, known := range elsewhere {
			if strings.HasSuffix(at, "."+known.path) {
				kind, own = "["+known.name+"]("+known.link+")", false
			}
		}
		meaning := sentence(field.Description) + bounds(field)
		if own {
			meaning += rulesOf(field)
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", at, kind, fallback, strings.ReplaceAll(meaning, "|", `\|`))
		if !own {
			continue
		}
		below, under := field, at
		switch {
		case field.Items != nil:
			below, under = *field.Items.Schema, at+"[]"
		case field.AdditionalProperties != nil:
			below, under = *field.AdditionalProperties.Schema, at+"{}"
		}
		if err := writeFields(page, under, below); err != nil {
			return err
		}
	}
	return nil
}

func typeOf(schema apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.XIntOrString:
		return "integer or string"
	case schema.Items != nil:
		return "list of " + typeOf(*schema.Items.Schema)
	case schema.AdditionalProperties != nil:
		return "map to " + typeOf(*schema.AdditionalProperties.Schema)
	case schema.Format == "date-time":
		return "time"
	}
	return schema.Type
}

// bounds returns the bounds of a schema as text, including those of the items of a list.
func bounds(schema apiextensionsv1.JSONSchemaProps) string {
	var text strings.Builder
	if schema.Items != nil {
		if each := bounds(*schema.Items.Schema); each != "" {
			text.WriteString(" Of each:" + each)
		}
	}
	if len(schema.Enum) > 0 {
		var values []string
		for _, value := range schema.Enum {
			values = append(values, code(value.Raw))
		}
		fmt.Fprintf(&text, " One of %s.", strings.Join(values, ", "))
	}
	switch low, high := schema.Minimum, schema.Maximum; {
	case low != nil && high != nil:
		fmt.Fprintf(&text, " From %s to %s.", number(*low), number(*high))
	case low != nil:
		fmt.Fprintf(&text, " At least %s.", number(*low))
	case high != nil:
		fmt.Fprintf(&text, " At most %s.", number(*high))
	}
	if schema.MinLength != nil && *schema.MinLength > 0 {
		text.WriteString(" Not empty.")
	}
	if schema.MaxLength != nil {
		fmt.Fprintf(&text, " At most %d characters.", *schema.MaxLength)
	}
	if schema.MinItems != nil {
		fmt.Fprintf(&text, " At least %d of them.", *schema.MinItems)
	}
	if schema.MaxItems != nil {
		fmt.Fprintf(&text, " At most %d of them.", *schema.MaxItems)
	}
	if schema.Pattern != "" {
		fmt.Fprintf(&text, " Matches `%s`.", schema.Pattern)
	}
	if len(schema.XListMapKeys) > 0 {
		fmt.Fprintf(&text, " Each `%s` once.", strings.Join(schema.XListMapKeys, "`, `"))
	}
	return text.String()
}

// number formats bounds of integers.
func number(value float64) string {
	if value == math.Trunc(value) && math.Abs(value) < 1<<53 {
		return strconv.FormatInt(int64(value), 10)
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// rulesOf returns the messages of the CEL rules, including those of the items of a list or
// map. For a messageExpression, and for a rule without a message, it returns the CEL.
func rulesOf(schema apiextensionsv1.JSONSchemaProps) string {
	var text strings.Builder
	for _, rule := range schema.XValidations {
		fmt.Fprintf(&text, " Rule: %s.", cmp.Or(rule.Message, "`"+cmp.Or(rule.MessageExpression, rule.Rule)+"`"))
	}
	var each string
	switch {
	case schema.Items != nil:
		each = rulesOf(*schema.Items.Schema)
	case schema.AdditionalProperties != nil:
		each = rulesOf(*schema.AdditionalProperties.Schema)
	}
	if each != "" {
		text.WriteString(" Of each:" + each)
	}
	return text.String()
}

func code(raw []byte) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text == "" {
			return `""`
		}
		return "`" + text + "`"
	}
	return "`" + string(raw) + "`"
}

var space = regexp.MustCompile(`\s+`)

// sentence returns a doc comment on one line.
func sentence(description string) string {
	return space.ReplaceAllString(strings.TrimSpace(description), " ")
}
