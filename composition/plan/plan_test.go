package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// What can be the case with one rendered StatefulSet. MakePlan is tested on every
// subset of these, each of which is a Situation.
const (
	absent = 1 << iota
	drifted
	deleting
	foreign        // controlled by another owner
	remembered     // a mark of an earlier apply
	desiredChanged // since that apply
	ownershipLost  // of a field that we send
	adopting
	restartHeld // remembered from a dry-run
	restartsAccepted
	paused
	unlabelled
	blocked // an immutable field differs
	claimsGrown
	scaled    // replicas that we own and do not send
	states    = 1 << iota
	stateBits = 15
)

var stateNames = []string{"absent", "drifted", "deleting", "foreign", "remembered", "desiredChanged", "ownershipLost", "adopting",
	"restartHeld", "restartsAccepted", "paused", "unlabelled", "blocked", "claimsGrown", "scaled"}

// situationOf makes the situation that bits say, beside an unchanged ConfigMap, a
// Role that is missing, and leftovers: a Service of the owner, one of another, one
// that is being deleted, and a claim of the owner.
func situationOf(bits int) State {
	has := func(bit int) bool { return bits&bit != 0 }
	size := "1Gi"
	if has(claimsGrown) {
		size = "2Gi"
	}
	set := enginetest.NewStatefulSet(size)
	configuration := enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", map[string]any{"data": map[string]any{"a": "b"}})
	role := enginetest.NewObject(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, "role", nil)
	s := State{
		Owner: enginetest.Owner, Options: enginetest.Options, Paused: has(paused), AllowRestarts: has(restartsAccepted),
		Objects: []object.Object{{Object: role}, {Object: configuration}, {Object: set}},
		Live:    map[object.Ref]*unstructured.Unstructured{}, Adopting: map[object.Ref]string{}, Remembered: map[object.Ref]Remembered{},
	}
	live := enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: configuration}, enginetest.Owner), "config-1")
	s.Live[object.RefOf(live)] = live

	service := schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	for name, change := range map[string]func(*unstructured.Unstructured){
		"left": func(*unstructured.Unstructured) {},
		"held": func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) },
		"gone": func(o *unstructured.Unstructured) { o.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)}) },
	} {
		leftover := enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: enginetest.NewObject(service, name, nil)}, enginetest.Owner), types.UID(name))
		change(leftover)
		s.Live[object.RefOf(leftover)] = leftover
	}
	claim := enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}, "claim", nil)}, enginetest.Owner), "claim")
	s.Live[object.RefOf(claim)] = claim

	if has(absent) {
		return s
	}
	live = enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: enginetest.NewStatefulSet("1Gi")}, enginetest.Owner), "set-1")
	key := object.RefOf(live)
	spec := live.Object["spec"].(map[string]any)
	owned := managedfields.Own(live, enginetest.Options.FieldManager)
	if has(scaled) {
		spec["replicas"] = int64(3)
		owned["f:spec"].(map[string]any)["f:replicas"] = map[string]any{}
	}
	lastWanted := func() *unstructured.Unstructured {
		wanted := enginetest.Options.WithOwnerMetadata(object.Object{Object: set}, enginetest.Owner)
		if has(blocked) {
			object.SetField(wanted.Object, "other", "spec", "serviceName")
		}
		return wanted
	}
	if has(remembered) {
		wanted := lastWanted()
		if has(desiredChanged) {
			object.SetField(wanted.Object, "here", "metadata", "annotations", "was")
		}
		s.Remembered[key] = Remember(object.MemoryHash(wanted.Object), live, enginetest.Options.FieldManager)
	}
	if has(drifted) {
		spec["template"].(map[string]any)["spec"].(map[string]any)["nodeName"] = "elsewhere"
	}
	if has(ownershipLost) {
		delete(owned["f:spec"].(map[string]any), "f:template")
	}
	if has(deleting) {
		live.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)})
	}
	if has(foreign) {
		references := live.GetOwnerReferences()
		references[0].UID = "other"
		live.SetOwnerReferences(references)
	}
	if has(adopting) {
		s.Adopting[key] = s.Revision
	}
	if has(unlabelled) {
		live.SetLabels(nil)
	}
	if has(blocked) {
		spec["serviceName"] = "other"
	}
	if has(drifted | ownershipLost | deleting | foreign | unlabelled | blocked) {
		live.SetResourceVersion("2")
	}
	if has(restartHeld) {
		wanted := lastWanted()
		held := Remember(object.MemoryHash(wanted.Object), live, enginetest.Options.FieldManager)
		held.RestartRequired = "would restart"
		s.Remembered[key] = held
	}
	s.Live[key] = live
	return s
}

// carriedOut is the situation after a plan, as the API server would have it.
func carriedOut(s State, plan Plan) State {
	next := s
	next.Live, next.Remembered, next.Adopting = maps.Clone(s.Live), maps.Clone(s.Remembered), map[object.Ref]string{}
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		switch step.Action {
		case Apply:
			uid := types.UID("new")
			if step.Live != nil {
				uid = step.Live.GetUID()
			}
			live := enginetest.Live(step.Object, uid)
			live.SetResourceVersion("9")
			if len(step.ReleaseFields) > 0 {
				live.Object["spec"].(map[string]any)["replicas"] = int64(3)
			}
			next.Live[step.Ref] = live
			next.Remembered[step.Ref] = Remember(step.DesiredHash, live, enginetest.Options.FieldManager)
		case Recreate, Delete:
			delete(next.Live, step.Ref)
			delete(next.Remembered, step.Ref)
		case Skip, Block, Retain:
			if revision, adopting := s.Adopting[step.Ref]; adopting {
				next.Adopting[step.Ref] = revision
			}
		}
	}
	return next
}

func TestPlanOverItsStateSpace(t *testing.T) {
	if stateBits != len(stateNames) || states != 1<<stateBits {
		t.Fatal("the states and their names do not fit")
	}
	for bits := range states {
		if bits&absent != 0 && bits&^(absent|paused) != 0 || bits&adopting == 0 && bits&restartsAccepted != 0 {
			continue // the same as without
		}
		s := situationOf(bits)
		before := fingerprint(s)
		plan := Compute(s)
		if problem := violated(bits, plan); problem != "" {
			t.Fatalf("%s: %s\n%+v", nameOf(bits), problem, plan.Steps)
		}
		if again := Compute(s); !slices.Equal(describe(plan), describe(again)) {
			t.Fatalf("%s: two plans of one situation differ: %s", nameOf(bits), cmp.Diff(describe(plan), describe(again)))
		}
		if fingerprint(s) != before {
			t.Fatalf("%s: planning changed the situation:\n%s", nameOf(bits), cmp.Diff(situationOf(bits).Live, s.Live))
		}
		for range 3 { // a recreation takes two
			if numWrites(plan) == 0 {
				break
			}
			s = carriedOut(s, plan)
			plan = Compute(s)
		}
		if numWrites(plan) != 0 {
			t.Fatalf("%s: something is always left to do:\n%v", nameOf(bits), describe(plan))
		}
	}
}

// fingerprint is of all that a plan may not change.
func fingerprint(s State) object.Hash {
	contents := map[string]any{}
	for key, live := range s.Live {
		contents["live "+key.String()] = live.Object
	}
	for _, child := range s.Objects {
		contents["child "+child.Ref().String()] = child.Object.Object
	}
	return object.StableHash(contents)
}

// violated names the invariant that a plan does not hold; empty for none.
func violated(bits int, plan Plan) string {
	has := func(bit int) bool { return bits&bit != 0 }
	for i := 1; i < len(plan.Steps); i++ {
		if object.WaveOf(plan.Steps[i-1].Ref.GroupKind()) > object.WaveOf(plan.Steps[i].Ref.GroupKind()) {
			return "steps are out of order"
		}
	}
	for i := 1; i < len(plan.Prunes); i++ {
		if object.WaveOf(plan.Prunes[i-1].Ref.GroupKind()) < object.WaveOf(plan.Prunes[i].Ref.GroupKind()) {
			return "prunes are out of order"
		}
	}
	if has(paused) && numWrites(plan) > 0 {
		return "writes while paused"
	}
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		writes := step.Action == Apply || step.Action == Recreate || step.Action == Delete
		switch {
		case step.Action == "" || step.Reason == "":
			return "undecided: " + step.Ref.String()
		case writes && step.Live != nil && !enginetest.Owner.IsControllerOf(step.Live):
			return "writes to an object of another: " + step.Ref.String()
		case writes && step.Live != nil && step.Live.GetDeletionTimestamp() != nil:
			return "writes to an object that is being deleted: " + step.Ref.String()
		case step.Action == Delete && (object.IsPVC(step.Ref) || step.Live == nil):
			return "deletes " + step.Ref.String()
		case (step.Action == Apply) && (step.Object.GetLabels()[enginetest.Options.OwnerLabel()] != "shop" || !enginetest.Owner.IsControllerOf(step.Object)):
			return "applies an object without label or owner: " + step.Ref.String()
		case step.Action == Apply && step.Object.GetUID() != "":
			return "an apply configuration has a UID of its own"
		}
	}
	if len(plan.Steps) != 3 || len(plan.Prunes) != 4 {
		return "steps are missing"
	}
	set := plan.Steps[2]
	switch {
	case has(absent):
		return unless(has(paused) || set.Action == Apply && set.Reason == NotFound && !set.DryRunFirst, "an absent object is not simply made")
	case has(foreign):
		return unless(set.Reason == OwnershipConflict, "an object of another is not told")
	case has(deleting):
		return unless(set.Reason == Terminating, "a deletion is not waited for")
	case has(paused):
		return unless(set.Reason == Paused, "is not held for the pause")
	case has(blocked):
		if len(set.Warnings) != 1 || set.Warnings[0].Reason != ImmutableFieldChanged || !strings.Contains(set.Warnings[0].Message, `spec.serviceName is immutable and keeps its live value "other"; desired is "set"`) {
			return "an immutable field is not reported"
		}
		if name, _, _ := unstructured.NestedString(set.Object.Object, "spec", "serviceName"); name != "other" {
			return "an immutable field is sent"
		}
	}
	switch {
	case has(claimsGrown):
		return unless(set.Action == Recreate && set.Reason == VolumeExpansion, "claims do not grow")
	case has(adopting) && has(restartHeld) && !has(restartsAccepted):
		return unless(set.Reason == RestartRequired && set.Message == "would restart", "the result of the dry-run is not remembered")
	case has(adopting):
		return unless(set.Action == Apply && set.Reason == Adopting && set.DryRunFirst == !has(restartsAccepted) && set.BlockOnRestart == set.DryRunFirst, "is not adopted with care")
	}
	inOrder := bits&(drifted|ownershipLost|unlabelled|scaled) == 0
	switch {
	case set.DryRunFirst && has(remembered) && !has(restartHeld):
		return "asks for what it remembers"
	case has(scaled) && !slices.ContainsFunc(set.ReleaseFields, func(path []string) bool { return slices.Equal(path, ReplicasPath) }):
		return "does not give replicas up"
	case inOrder:
		return unless(set.Action == Skip, "writes what is in step")
	case has(restartHeld), has(remembered) && !has(desiredChanged) && !has(scaled):
		return unless(set.Action == Apply && set.Reason == Drifted && set.Message != "", "does not put drift back")
	case has(remembered) && has(desiredChanged):
		return unless(set.Action == Apply && set.Reason == DesiredChanged, "does not apply a change")
	case !has(remembered):
		return unless(set.Action == Apply && set.Reason == Unverified && set.DryRunFirst, "does not ask what it cannot know")
	}
	return ""
}

func unless(holds bool, problem string) string {
	if holds {
		return ""
	}
	return problem
}

func nameOf(bits int) string {
	var names []string
	for i, name := range stateNames {
		if bits&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return fmt.Sprint(names)
}

func describe(plan Plan) []string {
	var lines []string
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		lines = append(lines, fmt.Sprintf("%s %s %s %q verify=%v giveUp=%v", step.Ref, step.Action, step.Reason, step.Message, step.DryRunFirst, step.ReleaseFields))
	}
	return lines
}

// numWrites counts the steps that may write.
func numWrites(plan Plan) int {
	count := 0
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		if step.Action == Apply || step.Action == Recreate || step.Action == Delete {
			count++
		}
	}
	return count
}
