package state

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// The response to a write is used instead of the cached object only until the cache shows it:
// these objects are most of the memory of an engine.
func TestOverlayRecentWrites(t *testing.T) {
	obj := func(version string) *unstructured.Unstructured {
		live := enginetest.Live(enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", nil), "1")
		live.SetResourceVersion(version)
		return live
	}
	written := time.Unix(1000, 0)
	tests := map[string]struct {
		cached string        // version; "" for none
		after  time.Duration // since the write of version 5
		live   string        // version; "" for none
		kept   bool          // the response is used and remembered
	}{
		"not in the cache":              {"", time.Second, "5", true},
		"older":                         {"4", time.Second, "5", true},
		"older for an hour":             {"4", time.Hour, "5", true},
		"the same":                      {"5", time.Second, "5", false},
		"newer":                         {"6", time.Second, "6", false},
		"newer, with more digits":       {"10", time.Second, "10", false},
		"not in the cache for too long": {"", CacheSyncTimeout, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			state := NewStore().Owner(object.Owner{UID: "owner"})
			ref := object.RefOf(obj("5"))
			state.SetApplied(ref, Applied{Desired: object.Hash{1}, Live: obj("5"), Typed: obj("5")}, enginetest.Options.FieldManager, written)
			live := map[object.Ref]*unstructured.Unstructured{}
			if test.cached != "" {
				live[ref] = obj(test.cached)
			}
			stale := state.OverlayRecentWrites(live, written.Add(test.after))
			if stale != test.kept || (state.children[ref].lastWritten != nil) != test.kept {
				t.Errorf("stale is %v, last written is %v, want %v", stale, state.children[ref].lastWritten, test.kept)
			}
			got := ""
			if live[ref] != nil {
				got = live[ref].GetResourceVersion()
			}
			if got != test.live {
				t.Errorf("live is version %q, want %q", got, test.live)
			}
		})
	}
}

// The state of an owner does not grow with the objects that are created and deleted.
func TestRemoveUnknown(t *testing.T) {
	state := NewStore().Owner(object.Owner{UID: "owner"})
	live := enginetest.Live(enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "deleted", nil), "1")
	ref := object.RefOf(live)
	state.SetUpToDate(ref, object.Hash{1}, live, enginetest.Options.FieldManager)
	state.SetForeign(ref, live, time.Unix(1000, 0))
	state.SetNameConflict(ref, true)
	state.RemoveUnknown(plan.Plan{Steps: []plan.Step{{Ref: ref}}})
	if len(state.Remembered()) != 1 || state.Foreign(ref, time.Unix(1000, 0)) == nil || !state.MayExistUnseen(ref) {
		t.Error("an object of the plan is forgotten")
	}
	state.RemoveUnknown(plan.Plan{})
	if len(state.children) != 0 {
		t.Error("an object that is not in the plan is remembered")
	}

	state.SetDeleted(ref, live)
	state.RemoveUnknown(plan.Plan{})
	shown := map[object.Ref]*unstructured.Unstructured{ref: live}
	if !state.OverlayRecentWrites(shown, time.Unix(1000, 0)) || len(shown) != 0 {
		t.Error("a deleted object that the cache still shows is live")
	}
	if state.OverlayRecentWrites(shown, time.Unix(1000, 0)) || state.WasDeleted(ref, "1") {
		t.Error("a deletion is remembered although the cache shows it")
	}
	state.RemoveUnknown(plan.Plan{})
	if len(state.children) != 0 {
		t.Error("a deleted object is remembered")
	}
}

// An object that was rejected before may exist although the cache does not show it, as
// after its label was removed.
func TestRejectedObjectMayExist(t *testing.T) {
	state := NewStore().Owner(object.Owner{UID: "owner"})
	live := enginetest.Live(enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "invalid", nil), "1")
	ref := object.RefOf(live)
	if state.MayExistUnseen(ref) {
		t.Error("an object that was never seen may exist")
	}
	state.SetInvalid(ref, object.Hash{1}, live, enginetest.Options.FieldManager)
	if !state.MayExistUnseen(ref) {
		t.Error("an object that was rejected cannot exist")
	}
}

func TestForeignIsReadAgain(t *testing.T) {
	state := NewStore().Owner(object.Owner{UID: "owner"})
	ref, now := object.Ref{Name: "conflict"}, time.Unix(1000, 0)
	state.SetForeign(ref, &unstructured.Unstructured{}, now)
	if state.Foreign(ref, now.Add(BlockedRecheckInterval-1)) == nil || state.Foreign(ref, now.Add(BlockedRecheckInterval)) != nil {
		t.Error("an object of another owner is not remembered for exactly the interval")
	}
}

func TestForget(t *testing.T) {
	store := NewStore()
	owner := object.Owner{GroupVersionKind: schema.GroupVersionKind{Kind: "Owner"}, Namespace: "team", Name: "owner", UID: "1"}
	store.Owner(owner).SetNameConflict(object.Ref{}, true)
	if !store.Owner(owner).MayExistUnseen(object.Ref{}) {
		t.Error("the state of an owner is not found again")
	}
	other := owner
	other.UID = "2"
	if store.Owner(other).MayExistUnseen(object.Ref{}) {
		t.Error("an owner has the state of another owner of the same name")
	}
	other.Kind = "Other"
	store.Owner(other)
	if len(store.owners) != 2 {
		t.Errorf("%d owners are remembered, want one of each kind", len(store.owners))
	}
	for _, each := range []object.Owner{owner, other} {
		each.UID = "" // as of an owner that was not found
		store.Forget(each)
	}
	if len(store.owners) != 0 {
		t.Error("an owner that does not exist any more is remembered")
	}
}
