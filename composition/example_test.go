package composition_test

import (
	"fmt"
	"log"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// A website is composed of a Deployment, a Service and a ConfigMap. Rendering and
// planning need no cluster: here is what an operator would do about a website
// that has just been made.
func Example() {
	templates, err := composition.NewTemplates(os.DirFS("testdata/templates"))
	if err != nil {
		log.Fatal(err)
	}
	policy := object.Options{FieldManager: "websites", KeyPrefix: "websites.example.com/"}
	input := composition.Input{
		Namespace: "team-a",
		Templates: []composition.TemplateRef{{Template: "site", Parameters: map[string]string{"name": "shop", "greeting": "hello"}}},
		Layers: []composition.Layer{{
			Source: "Website team-a/shop",
			Overlays: func() ([]composition.Overlay, error) {
				return []composition.Overlay{{
					Path: "spec", Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: "shop",
					Content: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
						"containers": []any{map[string]any{"name": "web", "image": "web:2"}},
					}}}},
				}}, nil
			},
		}},
	}
	rendering, err := composition.Render(templates, input, policy)
	if err != nil {
		log.Fatal(err)
	}
	plan := composition.Compute(composition.State{
		Owner: object.Owner{
			GroupVersionKind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Website"},
			Namespace:        "team-a", Name: "shop", UID: "7d8c",
		},
		Objects: rendering.Objects,
		Options: policy,
	})
	for _, step := range plan.Steps {
		fmt.Println(step.Action, step.Ref, step.Reason)
	}
	// Output:
	// Apply ConfigMap team-a/site NotFound
	// Apply Service team-a/shop NotFound
	// Apply Deployment team-a/shop NotFound
}
