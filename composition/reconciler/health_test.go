package reconciler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/health"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// liveChild decodes the spec and status of a child object.
func liveChild(t *testing.T, kind, text string) (composition.ObjectRef, *unstructured.Unstructured) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	gvk := appsv1.SchemeGroupVersion.WithKind(kind)
	if kind == "Widget" {
		gvk = widgetKind
	}
	object.SetGroupVersionKind(gvk)
	object.SetName("child")
	object.SetGeneration(2)
	return composition.ObjectRef{GroupVersionKind: gvk, Name: "child"}, normalized(t, object)
}

// normalized returns object with the types of numbers that the API server's JSON has.
func normalized(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	read := &unstructured.Unstructured{}
	if err := read.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	return read
}

// The readiness of an owner by the state of a child object and by whether it was ready.
func TestReadinessOfChildren(t *testing.T) {
	deployment := func(observed, replicas, updated, ready int, conditions ...string) string {
		return fmt.Sprintf("spec: {replicas: 1}\nstatus: {observedGeneration: %d, replicas: %d, updatedReplicas: %d, readyReplicas: %d, availableReplicas: %d, conditions: [%s]}",
			observed, replicas, updated, ready, ready, strings.Join(conditions, ", "))
	}
	set := func(revision string, replicas, ready int) string {
		return fmt.Sprintf("spec: {replicas: 2}\nstatus: {observedGeneration: 2, currentRevision: a, updateRevision: %s, replicas: %d, readyReplicas: %d, availableReplicas: %d}", revision, replicas, ready, ready)
	}
	const rolling, done = "{type: Progressing, status: 'True', reason: ReplicaSetUpdated}", "{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}"
	const rejected = "{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: violates PodSecurity}"
	for name, test := range map[string]struct {
		kind, live string
		was        string // Ready's reason
		want       string
	}{
		"not observed":                             {"Deployment", deployment(1, 1, 1, 1, done), ReasonReady, "Progressing Reconciling"},
		"first roll-out":                           {"Deployment", deployment(2, 1, 1, 0, rolling), "", "Progressing Reconciling"},
		"another roll-out":                         {"Deployment", deployment(2, 1, 1, 0, rolling), ReasonReady, "Progressing Reconciling"},
		"scaled up":                                {"Deployment", deployment(2, 0, 0, 0, done), ReasonReady, "Progressing Reconciling"},
		"lost its pod":                             {"Deployment", deployment(2, 1, 1, 0, done), ReasonReady, "ReplicasUnavailable"},
		"lost its pod, still":                      {"Deployment", deployment(2, 1, 1, 0, done), ReasonReplicasUnavailable, "ReplicasUnavailable"},
		"not ready since before":                   {"Deployment", deployment(2, 1, 1, 0, done), ReasonProgressing, "Progressing Reconciling"},
		"pods rejected":                            {"Deployment", deployment(2, 0, 0, 0, rolling, rejected), "", "ReplicaFailure Reconciling violates PodSecurity"},
		"past its deadline":                        {"Deployment", deployment(2, 1, 1, 0, "{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}"), "", "Failed"},
		"StatefulSet, first roll-out":              {"StatefulSet", set("a", 2, 1), "", "Progressing Reconciling"},
		"StatefulSet, another roll-out":            {"StatefulSet", set("b", 2, 1), ReasonReady, "Progressing Reconciling"},
		"StatefulSet, scaled up":                   {"StatefulSet", set("a", 1, 1), ReasonReady, "Progressing Reconciling"},
		"StatefulSet, lost a pod":                  {"StatefulSet", set("a", 2, 1), ReasonReady, "ReplicasUnavailable"},
		"custom resource, rolling out":             {"Widget", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}, {type: Reconciling, status: 'True'}]}", ReasonReady, "Progressing Reconciling"},
		"custom resource, lost a pod":              {"Widget", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}]}", ReasonReady, "ReplicasUnavailable"},
		"custom resource, in need of a correction": {"Widget", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}, {type: Stalled, status: 'True'}]}", ReasonReady, "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			key, live := liveChild(t, test.kind, test.live)
			owner := &widget{}
			if test.was != "" {
				before := False(ConditionReady, test.was, "")
				if test.was == ReasonReady {
					before.Status = metav1.ConditionTrue
				}
				SetConditions(owner, []metav1.Condition{before})
			}
			status, message := health.Of(live, widgetKind.GroupKind())
			child := childHealth(key, status, message, func(composition.ObjectRef) *unstructured.Unstructured { return live })
			conditions := readyConditions(composition.Options{}, owner, []ChildHealth{child}, composition.Result{}, nil)
			parts := []string{conditions[0].Reason}
			for _, more := range conditions[1:] {
				parts = append(parts, more.Type)
			}
			got := strings.Join(parts, " ")
			if _, message, has := strings.Cut(conditions[0].Message, ": violates"); has {
				got += " violates" + message
			}
			if got != test.want {
				t.Errorf("got %q, want %q (%s)", got, test.want, conditions[0].Message)
			}
		})
	}
}

// The reason is that of the worst child object, in any order.
func TestAggregateIsDeterministic(t *testing.T) {
	var children []ChildHealth
	for _, reason := range healthReasons {
		children = append(children, ChildHealth{Ref: composition.ObjectRef{Name: reason}, Reason: reason})
		for range children {
			children = append(children[1:], children[0])
			if got := Aggregate("Any", children); got.Reason != reason {
				t.Errorf("the worst of %v is %s, want %s", children, got.Reason, reason)
			}
		}
	}
	one := Aggregate("Any", children)
	slices.Reverse(children)
	if diff := cmp.Diff(one.Message, Aggregate("Any", children).Message); diff != "" {
		t.Error(diff)
	}
}

// A changed immutable field makes the owner Stalled; waiting for a permission or for
// another object does not.
func TestStalledByImmutableField(t *testing.T) {
	for reason := range blockedConditions {
		outcome := composition.Result{Plan: composition.Plan{Steps: []composition.Step{{Action: plan.Block, Reason: reason, Message: "m"}}}}
		var got []string
		for _, each := range readyConditions(composition.Options{}, &widget{}, nil, outcome, nil) {
			got = append(got, each.Type)
		}
		want := []string{"Ready"}
		if reason == plan.ImmutableFieldChanged {
			want = append(want, ConditionStalled)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", reason, diff)
		}
	}
}

// Conditions, and Ready, say what to do, once for all child objects, with the keys of the
// operator's own annotations.
func TestRemedies(t *testing.T) {
	blocked := func(reason plan.Reason, message string) composition.Step {
		return composition.Step{Action: plan.Block, Reason: reason, Message: message}
	}
	result := composition.Result{
		Plan: composition.Plan{Steps: []composition.Step{
			blocked(plan.RestartRequired, "b would restart"), blocked(plan.RestartRequired, "a would restart"),
			blocked(plan.FieldManagerConflict, "c is changed"), blocked(plan.MetadataPending, "d is pending"),
		}},
		UnmatchedPatches: []composition.Patch{{Source: "Widget w", Path: "spec.patches[0]"}},
	}
	want := map[string]string{
		ConditionRestartRequired:      `a would restart; b would restart; to apply the change and restart the pods, set the annotation example.com/allow-restart: "true" on this object`,
		ConditionFieldManagerConflict: "c is changed; remove the field from the configuration of one of the two field managers",
		ConditionMetadataPending:      `d is pending; to change and restart the pods now, set the annotation example.com/apply-metadata: "true" on this object`,
		ConditionPatchTargetNotFound:  "Widget w: spec.patches[0]: its target matches no child object; correct the target, or remove the patch",
		ConditionReady: `a would restart; b would restart; c is changed; d is pending` +
			`; remove the field from the configuration of one of the two field managers` +
			`; to change and restart the pods now, set the annotation example.com/apply-metadata: "true" on this object` +
			`; to apply the change and restart the pods, set the annotation example.com/allow-restart: "true" on this object`,
	}
	got := map[string]string{}
	for _, condition := range ResultConditions(composition.Options{KeyPrefix: "example.com/"}, &widget{}, nil, result) {
		got[condition.Type] = condition.Message
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Only conditions that the object has are updated, and they keep their observedGeneration.
func TestUpdateConditions(t *testing.T) {
	object := &widget{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	SetConditions(object, []metav1.Condition{True("AReady", ReasonReady, "a"), True("BReady", ReasonReady, "b"), True("Other", "Other", "")})
	object.Generation = 2
	failed := func(name string) metav1.Condition {
		return ChildHealth{Ref: composition.ObjectRef{Name: name}, Reason: string(health.Failed), Message: "broke"}.Condition(name + "Ready")
	}
	UpdateConditions(object, []metav1.Condition{failed("A"), NotFoundCondition("BReady"), failed("C")})
	var got []string
	for _, condition := range object.Status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s %d", condition.Type, condition.Status, condition.Reason, condition.ObservedGeneration))
	}
	if diff := cmp.Diff([]string{"AReady False Failed 1", "BReady False NotFound 1", "Other True Other 1"}, got); diff != "" {
		t.Error(diff)
	}
}

// A custom resource that was created a moment ago has no status. That is ready only for
// kinds whose controllers write none.
func TestUnobservedCustomResourcesAreNotReady(t *testing.T) {
	for status, want := range map[string]string{
		"": ReasonProgressing, "empty": ReasonProgressing, "older": ReasonProgressing, "newer": string(health.Current),
	} {
		object := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "a", "generation": int64(2)}}}
		object.SetGroupVersionKind(widgetKind)
		if status != "" {
			object.Object["status"] = map[string]any{}
		}
		if generation := map[string]int64{"older": 1, "newer": 2}[status]; generation > 0 {
			object.Object["status"] = map[string]any{"observedGeneration": generation, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		}
		ref := composition.RefOf(object)
		status, message := health.Of(object, widgetKind.GroupKind())
		child := childHealth(ref, status, message, func(composition.ObjectRef) *unstructured.Unstructured { return object })
		if got := child.Reason; got != want {
			t.Errorf("status %q: got %s, want %s", status, got, want)
		}
	}
}
