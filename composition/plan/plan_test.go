package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Properties of the state of one rendered StatefulSet. Compute is tested with every
// combination of these.
const (
	absent = 1 << iota
	drifted
	deleting
	foreign        // controlled by another owner
	remembered     // from an earlier apply
	desiredChanged // since that apply
	ownershipLost  // of a desired field
	adopting
	restartBlocked // remembered from a dry-run
	restartsAllowed
	paused
	unlabelled
	immutableDiffers
	claimsExpanded
	scaled    // replicas are owned and not desired
	states    = 1 << iota
	stateBits = 15
)

var stateNames = []string{"absent", "drifted", "deleting", "foreign", "remembered", "desiredChanged", "ownershipLost", "adopting",
	"restartBlocked", "restartsAllowed", "paused", "unlabelled", "immutableDiffers", "claimsExpanded", "scaled"}

// stateOf returns the state with the properties in bits. It also has an unchanged ConfigMap, a
// Role that does not exist, and orphans: a Service of the owner, one without an owner, one that
// is being deleted, and a claim of the owner.
func stateOf(bits int) State {
	has := func(bit int) bool { return bits&bit != 0 }
	size := "1Gi"
	if has(claimsExpanded) {
		size = "2Gi"
	}
	set := enginetest.NewStatefulSet(size)
	configuration := enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", map[string]any{"data": map[string]any{"a": "b"}})
	role := enginetest.NewObject(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, "role", nil)
	s := State{
		Owner: enginetest.Owner, Options: enginetest.Options, Paused: has(paused), AllowRestarts: has(restartsAllowed),
		Objects: []object.Object{{Object: role}, {Object: configuration}, {Object: set}},
		Live:    map[object.Ref]*unstructured.Unstructured{}, Remembered: map[object.Ref]Remembered{},
	}
	live := enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: configuration}, enginetest.Owner), "config-1")
	s.Live[object.RefOf(live)] = live

	service := schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	for name, change := range map[string]func(*unstructured.Unstructured){
		"orphan":   func(*unstructured.Unstructured) {},
		"unowned":  func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) },
		"deleting": func(o *unstructured.Unstructured) { o.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)}) },
	} {
		orphan := enginetest.Live(enginetest.Options.WithOwnerMetadata(object.Object{Object: enginetest.NewObject(service, name, nil)}, enginetest.Owner), types.UID(name))
		change(orphan)
		s.Live[object.RefOf(orphan)] = orphan
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
	lastDesired := func() *unstructured.Unstructured {
		desired := enginetest.Options.WithOwnerMetadata(object.Object{Object: set}, enginetest.Owner)
		if has(immutableDiffers) {
			object.SetField(desired.Object, "other", "spec", "serviceName")
		}
		return desired
	}
	if has(remembered) {
		desired := lastDesired()
		if has(desiredChanged) {
			object.SetField(desired.Object, "here", "metadata", "annotations", "was")
		}
		s.Remembered[key] = Remember(object.MemoryHash(desired.Object), live, enginetest.Options.FieldManager)
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
		marker := AdoptionMarker(enginetest.Options, s.Revision)
		metadata := owned["f:metadata"].(map[string]any)
		metadata["f:annotations"] = map[string]any{"f:" + marker[len(marker)-1]: map[string]any{}}
	}
	if has(unlabelled) {
		live.SetLabels(nil)
	}
	if has(immutableDiffers) {
		spec["serviceName"] = "other"
	}
	if has(drifted | ownershipLost | deleting | foreign | unlabelled | immutableDiffers) {
		live.SetResourceVersion("2")
	}
	if has(restartBlocked) {
		desired := lastDesired()
		blocked := Remember(object.MemoryHash(desired.Object), live, enginetest.Options.FieldManager)
		blocked.RestartRequired = "would restart"
		s.Remembered[key] = blocked
	}
	s.Live[key] = live
	return s
}

// applied returns the state after a plan was applied.
func applied(s State, plan Plan) State {
	next := s
	next.Live, next.Remembered = maps.Clone(s.Live), maps.Clone(s.Remembered)
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
		}
	}
	return next
}

func TestPlanOverItsStateSpace(t *testing.T) {
	if stateBits != len(stateNames) || states != 1<<stateBits {
		t.Fatal("the numbers of properties and names differ")
	}
	for bits := range states {
		if bits&absent != 0 && bits&^(absent|paused) != 0 || bits&adopting == 0 && bits&restartsAllowed != 0 {
			continue // these have no effect
		}
		s := stateOf(bits)
		before := hashOf(s)
		plan := Compute(s)
		if problem := violated(bits, plan); problem != "" {
			t.Fatalf("%s: %s\n%+v", nameOf(bits), problem, plan.Steps)
		}
		if again := Compute(s); !slices.EqualFunc(plan.Steps, again.Steps, sameStep) || !slices.EqualFunc(plan.Prunes, again.Prunes, sameStep) {
			t.Fatalf("%s: two plans of one state differ: %s", nameOf(bits), cmp.Diff(describe(plan), describe(again)))
		}
		if hashOf(s) != before {
			t.Fatalf("%s: the state was changed:\n%s", nameOf(bits), cmp.Diff(stateOf(bits).Live, s.Live))
		}
		for range 3 { // a recreation needs two plans
			if numWrites(plan) == 0 {
				break
			}
			s = applied(s, plan)
			plan = Compute(s)
		}
		if numWrites(plan) != 0 {
			t.Fatalf("%s: the plan is never empty:\n%v", nameOf(bits), describe(plan))
		}
	}
}

// hashOf returns the hash of everything in a state that must not be changed.
func hashOf(s State) object.Hash {
	contents := make(map[string]any, len(s.Live)+len(s.Objects))
	for key, live := range s.Live {
		contents["live "+key.Kind+key.Name] = live.Object
	}
	for _, child := range s.Objects {
		contents["child "+child.Object.GetKind()] = child.Object.Object
	}
	return object.MemoryHash(contents)
}

// violated returns the invariant that a plan violates; empty for none.
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
			return "no action or reason: " + step.Ref.String()
		case writes && step.Live != nil && !enginetest.Owner.IsControllerOf(step.Live):
			return "writes to an object of another owner: " + step.Ref.String()
		case writes && step.Live != nil && step.Live.GetDeletionTimestamp() != nil:
			return "writes to an object that is being deleted: " + step.Ref.String()
		case step.Action == Delete && (object.IsPVC(step.Ref) || step.Live == nil):
			return "deletes " + step.Ref.String()
		case (step.Action == Apply) && (step.Object.GetLabels()[enginetest.Options.OwnerLabel()] != "shop" || !enginetest.Owner.IsControllerOf(step.Object)):
			return "applies an object without label or owner: " + step.Ref.String()
		case step.Action == Apply && step.Object.GetUID() != "":
			return "an apply configuration has a UID"
		}
	}
	if len(plan.Steps) != 3 || len(plan.Prunes) != 4 {
		return "steps are missing"
	}
	set := plan.Steps[2]
	switch {
	case has(absent):
		return unless(has(paused) || set.Action == Apply && set.Reason == NotFound && !set.DryRunFirst, "an absent object is not created")
	case has(foreign):
		return unless(set.Reason == OwnershipConflict, "an object of another owner is not reported")
	case has(deleting):
		return unless(set.Reason == Terminating, "does not wait for a deletion")
	case has(paused):
		return unless(set.Reason == Paused, "writes although the owner is paused")
	case has(immutableDiffers):
		if len(set.Warnings) != 1 || set.Warnings[0].Reason != ImmutableFieldChanged || !strings.Contains(set.Warnings[0].Message, `spec.serviceName is immutable and keeps its live value "other"; the desired value is "set"`) {
			return "an immutable field is not reported"
		}
		if name, _, _ := unstructured.NestedString(set.Object.Object, "spec", "serviceName"); name != "other" {
			return "an immutable field is sent"
		}
	}
	switch {
	case has(claimsExpanded):
		return unless(set.Action == Recreate && set.Reason == VolumeExpansion, "claims are not expanded")
	case has(adopting) && has(restartBlocked) && !has(restartsAllowed):
		return unless(set.Reason == RestartRequired && set.Message == "would restart", "the result of the dry-run is not remembered")
	case has(adopting):
		return unless(set.Action == Apply && set.Reason == Adopting && set.DryRunFirst == !has(restartsAllowed) && set.BlockOnRestart == set.DryRunFirst, "is adopted without a dry-run")
	}
	upToDate := bits&(drifted|ownershipLost|unlabelled|scaled) == 0
	switch {
	case set.DryRunFirst && has(remembered) && !has(restartBlocked):
		return "makes a dry-run although the result is remembered"
	case has(scaled) && !slices.ContainsFunc(set.ReleaseFields, func(path []string) bool { return slices.Equal(path, ReplicasPath) }):
		return "does not release replicas"
	case upToDate:
		return unless(set.Action == Skip, "writes an object that is up to date")
	case has(restartBlocked), has(remembered) && !has(desiredChanged) && !has(scaled):
		return unless(set.Action == Apply && set.Reason == Drifted && set.Message != "", "does not revert drift")
	case has(remembered) && has(desiredChanged):
		return unless(set.Action == Apply && set.Reason == DesiredChanged, "does not apply a change")
	case !has(remembered):
		return unless(set.Action == Apply && set.Reason == Unverified && set.DryRunFirst, "makes no dry-run although nothing is remembered")
	}
	return ""
}

func unless(ok bool, problem string) string {
	if ok {
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

// sameStep reports whether two steps do the same for the same reason.
func sameStep(a, b Step) bool {
	return a.Ref == b.Ref && a.Action == b.Action && a.Reason == b.Reason && a.Message == b.Message && a.DryRunFirst == b.DryRunFirst &&
		a.DesiredHash == b.DesiredHash && slices.EqualFunc(a.ReleaseFields, b.ReleaseFields, slices.Equal)
}

func describe(plan Plan) []string {
	var lines []string
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		lines = append(lines, fmt.Sprintf("%s %s %s %q dryRun=%v release=%v", step.Ref, step.Action, step.Reason, step.Message, step.DryRunFirst, step.ReleaseFields))
	}
	return lines
}

// numWrites returns the number of steps that may write.
func numWrites(plan Plan) int {
	count := 0
	for _, step := range slices.Concat(plan.Steps, plan.Prunes) {
		if step.Action == Apply || step.Action == Recreate || step.Action == Delete {
			count++
		}
	}
	return count
}
