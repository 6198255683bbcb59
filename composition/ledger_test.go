package composition

import (
	"testing"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What our writes gave back stands in for the cache only as long as it has to:
// it is most of what an engine remembers.
func TestCatchUp(t *testing.T) {
	obj := func(version string) *unstructured.Unstructured {
		live := asLive(testObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", nil), "1")
		live.SetResourceVersion(version)
		return live
	}
	written := time.Unix(1000, 0)
	tests := map[string]struct {
		cached string        // version; "" for none
		after  time.Duration // since the write of version 5
		live   string        // version; "" for none
		kept   bool
	}{
		"not there yet":          {"", time.Second, "5", true},
		"older":                  {"4", time.Second, "5", true},
		"older for long":         {"4", time.Hour, "5", true},
		"the same":               {"5", time.Second, "5", false},
		"newer":                  {"6", time.Second, "6", false},
		"newer by a digit":       {"10", time.Second, "10", false},
		"not there after a time": {"", cacheLag, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			account := newLedger().account(object.Owner{UID: "owner"})
			key := object.RefOf(obj("5"))
			account.applied(key, object.Hash{1}, result{live: obj("5"), cached: obj("5")}, testPolicy.FieldManager, written)
			live := map[object.Ref]*unstructured.Unstructured{}
			if test.cached != "" {
				live[key] = obj(test.cached)
			}
			behind := account.catchUp(live, written.Add(test.after))
			if behind != test.kept || (account.marks[key].fresh != nil) != test.kept {
				t.Errorf("behind is %v, kept is %v, want %v", behind, account.marks[key].fresh, test.kept)
			}
			got := ""
			if live[key] != nil {
				got = live[key].GetResourceVersion()
			}
			if got != test.live {
				t.Errorf("live is version %q, want %q", got, test.live)
			}
		})
	}
}

// An account does not grow with the children that come and go.
func TestTidy(t *testing.T) {
	account := newLedger().account(object.Owner{UID: "owner"})
	live := asLive(testObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "gone", nil), "1")
	key := object.RefOf(live)
	account.found(key, object.Hash{1}, live, testPolicy.FieldManager)
	account.foreign[key] = sighting{}
	account.taken[key] = true
	account.tidy(Plan{Steps: []Step{{Ref: key}}})
	if len(account.marks)+len(account.foreign)+len(account.taken) != 3 {
		t.Error("what a plan speaks of is forgotten")
	}
	account.tidy(Plan{})
	if len(account.marks)+len(account.foreign)+len(account.taken) != 0 {
		t.Error("what no plan speaks of is remembered")
	}
}

func TestForget(t *testing.T) {
	ledger := newLedger()
	owner := object.Owner{GroupVersionKind: schema.GroupVersionKind{Kind: "Owner"}, Namespace: "team", Name: "owner", UID: "1"}
	ledger.account(owner).taken[object.Ref{}] = true
	if len(ledger.account(owner).taken) != 1 {
		t.Error("an account is another each time")
	}
	other := owner
	other.UID = "2"
	if len(ledger.account(other).taken) != 0 {
		t.Error("an owner is taken for another one of its name")
	}
	other.Kind = "Other"
	ledger.account(other)
	if len(ledger.owners) != 2 {
		t.Errorf("%d owners are remembered, want one of each kind", len(ledger.owners))
	}
	for _, each := range []object.Owner{owner, other} {
		each.UID = "" // as for an owner that was not found
		ledger.forget(each)
	}
	if len(ledger.owners) != 0 {
		t.Error("an owner that does not exist any more is remembered")
	}
}
