package patch

import (
	"slices"
	"testing"

	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// TestTargetsSelectAsInKustomize compares the objects that a target matches with those that
// Kustomize selects.
func TestTargetsSelectAsInKustomize(t *testing.T) {
	factory := resmap.NewFactory(provider.NewDefaultDepProvider().GetResourceFactory())
	objects := patchObjects(t)
	resources := resmap.New()
	for _, object := range objects {
		text, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		one, err := factory.NewResMapFromBytes(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := resources.AppendAll(one); err != nil {
			t.Fatal(err)
		}
	}

	gvks := []resid.Gvk{
		{}, {Kind: "Deployment"}, {Kind: "Deploy"}, {Kind: ".*Set|Service"}, {Kind: "Service|Account"}, {Kind: "deployment"},
		{Group: "apps"}, {Group: "app"}, {Group: ".*example.*", Version: "v1"}, {Version: "v."}, {Version: "v2"}, {Kind: "("},
	}
	names := []string{"", "web", "we", "w.*", "web|store", "^web$"}
	namespaces := []string{"", "team-a", "team", "team-.*"}
	labelSelectors := []string{"", "tier=data", "tier", "!tier", "tier in (data,web)", "app.kubernetes.io/name notin (web)", "a in"}
	annotationSelectors := []string{"", "team=a", "team!=a"}
	matches := 0
	for _, gvk := range gvks {
		for _, name := range names {
			for _, namespace := range namespaces {
				for _, byLabel := range labelSelectors {
					for _, byAnnotation := range annotationSelectors {
						target := types.Selector{
							ResId:         resid.ResId{Gvk: gvk, Name: name, Namespace: namespace},
							LabelSelector: byLabel, AnnotationSelector: byAnnotation,
						}
						selected, wantErr := resources.Select(target)
						match, err := matchTarget(&target)
						if err != nil {
							// Kustomize parses a label selector only if the other fields match.
							if wantErr == nil && len(selected) > 0 {
								t.Errorf("%s: %v", target.String(), err)
							}
							continue
						}
						if wantErr != nil {
							t.Errorf("%s: no error, but Kustomize returns %v", target.String(), wantErr)
						}
						var want, got []string
						for _, resource := range selected {
							want = append(want, resource.GetKind()+"/"+resource.GetName())
						}
						for _, object := range objects {
							if match(object) {
								got = append(got, nameOf(object))
							}
						}
						if !slices.Equal(want, got) {
							t.Errorf("%s: matches %v, Kustomize selects %v", target.String(), got, want)
						}
						matches += len(got)
					}
				}
			}
		}
	}
	if matches == 0 {
		t.Error("no target matched")
	}
}
