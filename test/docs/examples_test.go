package docs_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/inputs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// examplePages have examples, in order: those of later pages may use the configurations of
// earlier ones.
var examplePages = []string{"reference/merge-examples.md", "reference/patches.md"}

const (
	// resultYAML and resultText are the info strings of blocks with the result of the
	// example before them: parts of children, or the error.
	resultYAML = "yaml result"
	resultText = "text result"
)

// examples renders the examples of pages, block by block.
type examples struct {
	templates     *composition.Templates
	seldonConfigs map[string]*v1alpha1.SeldonConfig
	serverConfigs map[string]*v1alpha1.ServerConfig

	rendered map[string]*unstructured.Unstructured // by Kind/name
	err      error
}

// The examples on the pages about merging and patches have the results that they show.
func TestExamplesHaveTheirResults(t *testing.T) {
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		t.Fatal(err)
	}
	e := &examples{
		templates:     compiled,
		seldonConfigs: map[string]*v1alpha1.SeldonConfig{},
		serverConfigs: map[string]*v1alpha1.ServerConfig{},
	}
	for _, page := range examplePages {
		if results := e.check(t, page); results == 0 {
			t.Errorf("%s: no results are shown", page)
		}
	}
}

// check renders the examples of a page, compares them with the results on it, and returns
// the number of results.
func (e *examples) check(t *testing.T, page string) (results int) {
	t.Helper()
	scheme := newScheme(t)
	pending := ""
	for _, b := range blocks(read(t, page)) {
		switch b.info {
		case resultYAML:
			pending = ""
			results++
			e.compare(t, documents(t, page, b))
		case resultText:
			pending = ""
			results++
			if want := strings.TrimSpace(b.text); e.err == nil || !strings.Contains(e.err.Error(), want) {
				t.Errorf("got error %v, the page shows %s", e.err, want)
			}
		case "yaml":
			for _, document := range documents(t, page, b) {
				if !e.render(typed(t, scheme, page, document)) {
					continue
				}
				if pending != "" {
					t.Errorf("%s: no result is shown for\n%s", page, pending)
				}
				pending = b.text
			}
		}
	}
	if pending != "" {
		t.Errorf("%s: no result is shown for\n%s", page, pending)
	}
	return results
}

// render renders a SeldonRuntime or Server and returns true, or stores a configuration
// for later and returns false.
func (e *examples) render(object runtime.Object) bool {
	var input composition.Input
	switch object := object.(type) {
	case *v1alpha1.SeldonConfig:
		object.Namespace = "seldon-system"
		e.seldonConfigs[object.Name] = object
		return false
	case *v1alpha1.ServerConfig:
		object.Namespace = "seldon-system"
		e.serverConfigs[object.Name] = object
		return false
	case *v1alpha1.SeldonRuntime:
		object.Namespace = "team-a"
		input, _, e.err = templates.Runtime{Runtime: object, Config: e.seldonConfigs[object.Spec.SeldonConfig]}.Input()
	case *v1alpha1.Server:
		object.Namespace = "team-a"
		input, _, e.err = templates.Server{Server: object, Config: e.serverConfigs[object.Spec.ServerConfig]}.Input()
	default:
		return false
	}
	e.rendered = map[string]*unstructured.Unstructured{}
	if e.err != nil {
		return true
	}
	rendering, err := composition.Render(e.templates, input, inputs.EngineOptions)
	e.err = err
	for _, child := range rendering.Objects {
		e.rendered[child.Object.GetKind()+"/"+child.Object.GetName()] = child.Object
	}
	return true
}

// compare compares rendered children with the parts of them on the page.
func (e *examples) compare(t *testing.T, shown []map[string]any) {
	t.Helper()
	for _, want := range shown {
		child := unstructured.Unstructured{Object: want}
		name := child.GetKind() + "/" + child.GetName()
		got, found := e.rendered[name]
		if !found {
			t.Errorf("%s is not rendered (%v)", name, e.err)
			continue
		}
		for _, difference := range differences(want, got.Object, name) {
			t.Error(difference)
		}
	}
}

// differences returns the differences between the shown and the rendered value. A shown
// map may lack fields, a shown list has all items, and a null is a missing field.
func differences(shown, got any, path string) []string {
	switch shown := shown.(type) {
	case nil:
		if got == nil {
			return nil
		}
	case map[string]any:
		fields, isMap := got.(map[string]any)
		if !isMap {
			break
		}
		var found []string
		for key, value := range shown {
			found = append(found, differences(value, fields[key], path+"."+key)...)
		}
		slices.Sort(found)
		return found
	case []any:
		items, _ := got.([]any)
		if len(items) != len(shown) {
			break
		}
		var found []string
		for i, value := range shown {
			found = append(found, differences(value, items[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
		return found
	default:
		// Numbers from YAML are float64 here, rendered ones may be int64.
		if reflect.DeepEqual(shown, got) || fmt.Sprint(shown) == fmt.Sprint(got) {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: the page shows %v, rendered is %v", path, shown, got)}
}
