package manifest

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
)

// defaultsFile has the defaults of the operator's CustomResourceDefinitions, a line each:
// `SeldonRuntime.spec.servers[].podSpec.containers[].ports[].protocol = "TCP"`. A test writes
// it with -update. The definitions themselves are too large to be parsed at each start.
//
//go:embed defaults.txt
var defaultsFile string

// schemaDefault is the default of a field.
type schemaDefault struct {
	// path of the field. An element that ends with [] is a list whose items have the next.
	path  []string
	value any
}

// defaults returns the defaults by kind; those of a field before those of the fields below.
var defaults = sync.OnceValue(func() map[string][]schemaDefault {
	byKind := map[string][]schemaDefault{}
	for line := range strings.Lines(defaultsFile) {
		path, text, _ := strings.Cut(strings.TrimSpace(line), " = ")
		names := strings.Split(path, ".")
		each := schemaDefault{path: names[1:]}
		if err := json.Unmarshal([]byte(text), &each.value); err != nil {
			panic(fmt.Sprintf("defaults.txt: %s: %v", line, err))
		}
		byKind[names[0]] = append(byKind[names[0]], each)
	}
	return byKind
})

// SetDefaults sets the defaults of the CustomResourceDefinition of an object of one of the
// operator's kinds, as the API server does when it stores the object.
func SetDefaults(object *unstructured.Unstructured) {
	for _, each := range defaults()[object.GetKind()] {
		setDefault(object.Object, each.path, each.value)
	}
}

// setDefault sets value at path wherever the field is absent or null and its parent exists.
func setDefault(content map[string]any, path []string, value any) {
	name, isList := strings.CutSuffix(path[0], "[]")
	if len(path) == 1 {
		if content[name] == nil {
			content[name] = runtime.DeepCopyJSONValue(value)
		}
		return
	}
	if !isList {
		if below, is := content[name].(map[string]any); is {
			setDefault(below, path[1:], value)
		}
		return
	}
	items, _ := content[name].([]any)
	for _, item := range items {
		if below, is := item.(map[string]any); is {
			setDefault(below, path[1:], value)
		}
	}
}
