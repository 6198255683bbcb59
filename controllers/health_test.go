package controllers

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

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// livingChild decodes the spec and status of a child.
func livingChild(t *testing.T, kind, text string) (composition.ObjectRef, *unstructured.Unstructured) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	gvk := appsv1.SchemeGroupVersion.WithKind(kind)
	if kind == "Server" {
		gvk = v1alpha1.GroupVersion.WithKind(kind)
	}
	object.SetGroupVersionKind(gvk)
	object.SetName("child")
	object.SetGeneration(2)
	return composition.ObjectRef{GroupVersionKind: gvk, Name: "child"}, normalized(t, object)
}

// normalized has the types of numbers that the API server's JSON has.
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

// What a child that is not ready means for its owner, which was ready or was not.
func TestReadinessOfChildren(t *testing.T) {
	deployment := func(observed, replicas, updated, ready int, conditions ...string) string {
		return fmt.Sprintf("spec: {replicas: 1}\nstatus: {observedGeneration: %d, replicas: %d, updatedReplicas: %d, readyReplicas: %d, availableReplicas: %d, conditions: [%s]}",
			observed, replicas, updated, ready, ready, strings.Join(conditions, ", "))
	}
	set := func(revision string, replicas, ready int) string {
		return fmt.Sprintf("spec: {replicas: 2}\nstatus: {observedGeneration: 2, currentRevision: a, updateRevision: %s, replicas: %d, readyReplicas: %d, availableReplicas: %d}", revision, replicas, ready, ready)
	}
	const rolling, done = "{type: Progressing, status: 'True', reason: ReplicaSetUpdated}", "{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}"
	const refused = "{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: violates PodSecurity}"
	for name, test := range map[string]struct {
		kind, live string
		was        string // Ready's reason
		want       string
	}{
		"not observed":                    {"Deployment", deployment(1, 1, 1, 1, done), reasonReady, "Progressing Reconciling"},
		"first roll-out":                  {"Deployment", deployment(2, 1, 1, 0, rolling), "", "Progressing Reconciling"},
		"another roll-out":                {"Deployment", deployment(2, 1, 1, 0, rolling), reasonReady, "Progressing Reconciling"},
		"scaled up":                       {"Deployment", deployment(2, 0, 0, 0, done), reasonReady, "Progressing Reconciling"},
		"lost its pod":                    {"Deployment", deployment(2, 1, 1, 0, done), reasonReady, "ReplicasUnavailable"},
		"lost its pod, still":             {"Deployment", deployment(2, 1, 1, 0, done), reasonReplicasUnavailable, "ReplicasUnavailable"},
		"not ready since before":          {"Deployment", deployment(2, 1, 1, 0, done), reasonProgressing, "Progressing Reconciling"},
		"pods refused":                    {"Deployment", deployment(2, 0, 0, 0, rolling, refused), "", "ReplicaFailure Reconciling violates PodSecurity"},
		"past its deadline":               {"Deployment", deployment(2, 1, 1, 0, "{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}"), "", "Failed"},
		"StatefulSet, first roll-out":     {"StatefulSet", set("a", 2, 1), "", "Progressing Reconciling"},
		"StatefulSet, another roll-out":   {"StatefulSet", set("b", 2, 1), reasonReady, "Progressing Reconciling"},
		"StatefulSet, scaled up":          {"StatefulSet", set("a", 1, 1), reasonReady, "Progressing Reconciling"},
		"StatefulSet, lost a pod":         {"StatefulSet", set("a", 2, 1), reasonReady, "ReplicasUnavailable"},
		"Server, rolling out":             {"Server", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}, {type: Reconciling, status: 'True'}]}", reasonReady, "Progressing Reconciling"},
		"Server, lost a pod":              {"Server", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}]}", reasonReady, "ReplicasUnavailable"},
		"Server, in need of a correction": {"Server", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}, {type: Stalled, status: 'True'}]}", reasonReady, "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			key, live := livingChild(t, test.kind, test.live)
			owner := &v1alpha1.SeldonRuntime{}
			if test.was != "" {
				before := isFalse(v1alpha1.ConditionReady, test.was, "")
				if test.was == reasonReady {
					before.status = metav1.ConditionTrue
				}
				setConditions(owner, []verdict{before})
			}
			child := healthOf(map[composition.ObjectRef]*unstructured.Unstructured{key: live})[key]
			verdicts := readiness(owner, []childHealth{child}, composition.Result{}, nil)
			words := []string{verdicts[0].reason}
			for _, more := range verdicts[1:] {
				words = append(words, more.kind)
			}
			got := strings.Join(words, " ")
			if _, message, has := strings.Cut(verdicts[0].message, ": violates"); has {
				got += " violates" + message
			}
			if got != test.want {
				t.Errorf("got %q, want %q (%s)", got, test.want, verdicts[0].message)
			}
		})
	}
}

// The reason is that of the worst child, in whatever order they come.
func TestSummaryIsDeterministic(t *testing.T) {
	var children []childHealth
	for _, reason := range healthReasons {
		children = append(children, childHealth{key: composition.ObjectRef{Name: reason}, reason: reason})
		for range children {
			children = append(children[1:], children[0])
			if got := summary("Any", children, nil); got.reason != reason {
				t.Errorf("the worst of %v is %s, want %s", children, got.reason, reason)
			}
		}
	}
	one := summary("Any", children, nil)
	slices.Reverse(children)
	if diff := cmp.Diff(one.message, summary("Any", children, nil).message); diff != "" {
		t.Error(diff)
	}
}

// Children with a changed immutable field stall their owner; what waits for consent or for another object
// does not.
func TestStalledByImmutableField(t *testing.T) {
	for reason := range heldConditions {
		outcome := composition.Result{Plan: composition.Plan{Steps: []composition.Step{{Action: composition.Block, Reason: reason, Message: "m"}}}}
		var got []string
		for _, each := range readiness(&v1alpha1.Server{}, nil, outcome, nil) {
			got = append(got, each.kind)
		}
		want := []string{"Ready"}
		if reason == composition.ImmutableFieldChanged {
			want = append(want, conditionStalled)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", reason, diff)
		}
	}
}

// Without a rendering, the conditions of parts follow the children that there are,
// and say of which generation those are.
func TestFollowChildren(t *testing.T) {
	runtime := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	setConditions(runtime, []verdict{isTrue("AReady", reasonReady, "a"), isTrue("BReady", reasonReady, "b"), isTrue("Other", "Other", "")})
	runtime.Generation = 2
	children := map[composition.ObjectRef]childHealth{}
	for _, name := range []string{"A", "C"} {
		key := composition.ObjectRef{Name: name}
		children[key] = childHealth{key: key, reason: string(health.Failed), message: "broke"}
	}
	followChildren(runtime, children, func(key composition.ObjectRef) string { return key.Name + "Ready" }, "AReady", "BReady", "CReady")
	var got []string
	for _, condition := range runtime.Status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s %d", condition.Type, condition.Status, condition.Reason, condition.ObservedGeneration))
	}
	if diff := cmp.Diff([]string{"AReady False Failed 1", "BReady False Missing 1", "Other True Other 1"}, got); diff != "" {
		t.Error(diff)
	}
}
