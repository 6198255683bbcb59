package plan

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// A change of propagated metadata alone does not change the pod template.
func TestDeferMetadata(t *testing.T) {
	workload := func(image, keys string, labels map[string]any) *unstructured.Unstructured {
		obj := enginetest.NewStatefulSet("1Gi")
		object.SetField(obj.Object, []any{map[string]any{"name": "web", "image": image}}, "spec", "template", "spec", "containers")
		for key, value := range labels {
			object.SetField(obj.Object, value, "spec", "template", "metadata", "labels", key)
		}
		object.SetField(obj.Object, keys, "metadata", "annotations", enginetest.Options.PropagatedAnnotation())
		return obj
	}
	type labels = map[string]any
	tests := map[string]struct {
		live, rendered *unstructured.Unstructured
		adopting       bool
		want           labels
		keys           string
		pending        string
	}{
		"added": {
			live: workload("a", "", nil), rendered: workload("a", "labels:team", labels{"team": "x"}),
			keys: "labels:team", pending: "labels team",
		},
		"changed": {
			live: workload("a", "labels:team", labels{"team": "x"}), rendered: workload("a", "labels:team", labels{"team": "y"}),
			want: labels{"team": "x"}, keys: "labels:team", pending: "labels team",
		},
		"removed": {
			live: workload("a", "labels:team", labels{"team": "x"}), rendered: workload("a", "", nil),
			want: labels{"team": "x"}, keys: "labels:team", pending: "labels team",
		},
		"one removed and one added": {
			live: workload("a", "labels:a", labels{"a": "1"}), rendered: workload("a", "labels:b", labels{"b": "1"}),
			want: labels{"a": "1"}, keys: "labels:a labels:b", pending: "labels a, labels b",
		},
		"changed with the image": {
			live: workload("a", "labels:team", labels{"team": "x"}), rendered: workload("b", "labels:team", labels{"team": "y"}),
			want: labels{"team": "y"}, keys: "labels:team",
		},
		"removed with the image": {
			live: workload("a", "labels:team", labels{"team": "x"}), rendered: workload("b", "", nil), keys: "",
		},
		"not propagated": {
			live: workload("a", "", labels{"team": "x"}), rendered: workload("a", "", labels{"team": "y"}),
			want: labels{"team": "y"}, keys: "",
		},
		"set by a previous operator": {
			live: workload("a", "", labels{"other": "1"}), rendered: workload("a", "labels:team", labels{"team": "y"}), adopting: true,
			want: labels{"other": "1"}, keys: "labels:other labels:team", pending: "labels other, labels team",
		},
		"changed together with a preserved key": {
			live: workload("a", "labels:team", labels{"team": "x", "tool/a": "1"}), rendered: workload("a", "labels:team", labels{"team": "y"}),
			want: labels{"team": "x", "tool/a": "1"}, keys: "labels:team", pending: "labels team",
		},
		"equal": {
			live: workload("a", "labels:team", labels{"team": "x"}), rendered: workload("a", "labels:team", labels{"team": "x"}),
			want: labels{"team": "x"}, keys: "labels:team",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := test.rendered.DeepCopy()
			step := Step{Ref: object.RefOf(test.rendered), Object: test.rendered, Live: enginetest.Live(test.live, "1")}
			deferMetadata(enginetest.Options, &step, test.adopting)
			got, _, _ := unstructured.NestedMap(step.Object.Object, "spec", "template", "metadata", "labels")
			base, _, _ := unstructured.NestedMap(enginetest.NewStatefulSet("1Gi").Object, "spec", "template", "metadata", "labels")
			for key, value := range base {
				if got[key] != value {
					t.Errorf("label %s of the template itself is %v", key, got[key])
				}
				delete(got, key)
			}
			if len(got) != len(test.want) {
				t.Errorf("labels are %v, want %v", got, test.want)
			}
			for key, value := range test.want {
				if got[key] != value {
					t.Errorf("labels are %v, want %v", got, test.want)
				}
			}
			if keys := step.Object.GetAnnotations()[enginetest.Options.PropagatedAnnotation()]; keys != test.keys {
				t.Errorf("the annotation is %q, want %q", keys, test.keys)
			}
			if pending := step.Warnings; (len(pending) > 0) != (test.pending != "") ||
				len(pending) > 0 && !strings.Contains(pending[0].Message, test.pending) {
				t.Errorf("warnings are %v, want %q", pending, test.pending)
			}
			if object.StableHash(before.Object) != object.StableHash(test.rendered.Object) {
				t.Error("the rendered object was changed")
			}
		})
	}
}

// The first annotation of a pod template is pending too: no empty map is sent.
func TestDeferFirstAnnotation(t *testing.T) {
	live := enginetest.NewStatefulSet("1Gi")
	rendered := live.DeepCopy()
	object.SetField(rendered.Object, "x", "spec", "template", "metadata", "annotations", "note")
	object.SetField(rendered.Object, "annotations:note", "metadata", "annotations", enginetest.Options.PropagatedAnnotation())
	step := Step{Ref: object.RefOf(rendered), Object: rendered, Live: enginetest.Live(live, "1")}
	deferMetadata(enginetest.Options, &step, false)
	if annotations, found, _ := unstructured.NestedMap(step.Object.Object, "spec", "template", "metadata", "annotations"); found {
		t.Errorf("the pod template has annotations %v", annotations)
	}
	if len(step.Warnings) != 1 || step.Warnings[0].Reason != MetadataPending {
		t.Errorf("warnings %v", step.Warnings)
	}
}
