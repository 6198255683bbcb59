package composition_test

import (
	"fmt"
	"log"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// A website is composed of a Deployment, a Service and a ConfigMap. Rendering and planning need
// no cluster: the example prints what an operator would do for a new website.
func Example() {
	templates, err := template.Load(os.DirFS("testdata/templates"), "composition.seldon-operator.dev/")
	if err != nil {
		log.Fatal(err)
	}
	options := object.Options{FieldManager: "websites", KeyPrefix: "websites.example.com/"}
	input := composition.Input{
		Namespace: "team-a",
		Templates: []template.Ref{{Folder: "site", Parameters: map[string]string{"name": "shop", "greeting": "hello"}}},
		Layers: []template.Layer{{
			Source: "Website team-a/shop",
			Overlays: func() ([]template.Overlay, error) {
				return []template.Overlay{{
					Path: "spec", Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: "shop",
					Content: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
						"containers": []any{map[string]any{"name": "web", "image": "web:2"}},
					}}}},
				}}, nil
			},
		}},
	}
	rendered, err := composition.Render(templates, input, options)
	if err != nil {
		log.Fatal(err)
	}
	planned := plan.Compute(plan.State{
		Owner: object.Owner{
			GroupVersionKind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Website"},
			Namespace:        "team-a", Name: "shop", UID: "7d8c",
		},
		Objects: rendered.Objects,
		Options: options,
	})
	for _, step := range planned.Steps {
		fmt.Println(step.Action, step.Ref, step.Reason)
	}
	// Output:
	// Apply ConfigMap team-a/site NotFound
	// Apply Service team-a/shop NotFound
	// Apply Deployment team-a/shop NotFound
}
