package plan

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

func testWorkload(kind, name, account string, refers ...any) *unstructured.Unstructured {
	volumes := append([]any{}, refers...)
	return enginetest.NewObject(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}, name, map[string]any{"spec": map[string]any{
		"serviceName": name + "-headless",
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": name}},
			"spec":     map[string]any{"serviceAccountName": account, "volumes": volumes},
		},
	}})
}

// orphansOf returns objects of all kinds that the pods of a workload named app may need, and
// one of each kind that they do not need.
func orphansOf(app string) []*unstructured.Unstructured {
	core := func(kind, name string, content map[string]any) *unstructured.Unstructured {
		return enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: kind}, name, content)
	}
	rbac := func(kind, name string, content map[string]any) *unstructured.Unstructured {
		return enginetest.NewObject(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: kind}, name, content)
	}
	binding := func(name string) *unstructured.Unstructured {
		return rbac("RoleBinding", name, map[string]any{
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": name}},
		})
	}
	var orphans []*unstructured.Unstructured
	for _, name := range []string{app, "unrelated"} {
		orphans = append(orphans,
			core("ServiceAccount", name, nil), rbac("Role", name, nil), binding(name),
			core("ConfigMap", name, nil), core("Secret", name, nil), core("Secret", name+"-pull", nil),
			core("Service", name, map[string]any{"spec": map[string]any{"selector": map[string]any{"app": name}}}),
			core("Service", name+"-headless", map[string]any{"spec": map[string]any{}}),
			testWorkload("Deployment", name, name),
		)
	}
	return orphans
}

// TestRetainInUse covers all combinations of the reason why an object is unsettled and the
// orphans: the orphans that the live object uses are retained, with those that these use, and
// so is the workload that it replaces; all others are deleted.
func TestRetainInUse(t *testing.T) {
	live := testWorkload("StatefulSet", "app", "app",
		map[string]any{"configMap": map[string]any{"name": "app"}},
		map[string]any{"projected": map[string]any{"sources": []any{map[string]any{"secret": map[string]any{"name": "app"}}}}})
	pod := live.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	pod["imagePullSecrets"] = []any{map[string]any{"name": "app-pull"}}
	role := object.RefOf(orphansOf("app")[1])
	for _, reason := range []Reason{OwnershipConflict, Terminating, RestartRequired, FieldManagerConflict, ImmutableFieldChanged, DependencyRejected, NotFound, Drifted, DesiredChanged} {
		for _, exists := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s exists=%v", reason, exists), func(t *testing.T) {
				step := Step{Ref: object.RefOf(live), Action: Block, Reason: reason}
				if exists {
					step.Live = live
				}
				var prunes []Step
				for _, orphan := range orphansOf("app") {
					prunes = append(prunes, Step{Ref: object.RefOf(orphan), Live: orphan, Action: Delete, Reason: Orphaned})
				}
				before := slices.Clone(prunes)
				for _, prune := range RetainInUse([]Step{step}, prunes) {
					used := prune.Ref.Name != "unrelated" && prune.Ref.Name != "unrelated-headless" && prune.Ref.Name != "unrelated-pull"
					if !exists && prune.Ref.Kind != "Deployment" {
						// The replaced Deployment has no configuration and no Secrets.
						used = used && !slices.Contains([]string{"ConfigMap", "Secret"}, prune.Ref.Kind)
					}
					want := Delete
					if used {
						want = Retain
					}
					if prune.Action != want || used && prune.Reason != InUse {
						t.Errorf("%s: %s %s, want %s", prune.Ref, prune.Action, prune.Reason, want)
					}
				}
				for i := range prunes {
					if prunes[i].Action != before[i].Action {
						t.Errorf("the argument has changed: %s", prunes[i].Ref)
					}
				}
			})
		}
	}

	t.Run("the role and account of an unsettled binding are retained", func(t *testing.T) {
		orphans := orphansOf("app")
		unsettled := Step{Ref: object.RefOf(orphans[2]), Live: orphans[2], Action: Block, Reason: OwnershipConflict}
		prunes := []Step{{Ref: role, Live: orphans[1], Action: Delete}, {Ref: object.RefOf(orphans[0]), Live: orphans[0], Action: Delete}}
		for _, prune := range RetainInUse([]Step{unsettled}, prunes) {
			if prune.Action != Retain {
				t.Errorf("%s: %s", prune.Ref, prune.Action)
			}
		}
	})
	t.Run("without unsettled objects everything is pruned", func(t *testing.T) {
		prunes := []Step{{Ref: role, Action: Delete}}
		if got := RetainInUse(nil, prunes); got[0].Action != Delete {
			t.Errorf("%s", got[0].Action)
		}
	})
	t.Run("an orphan that is retained for another reason keeps its reason", func(t *testing.T) {
		prunes := []Step{{Ref: role, Live: orphansOf("app")[1], Action: Retain, Reason: Terminating}}
		if got := RetainInUse([]Step{{Ref: object.RefOf(live), Live: live}}, prunes); got[0].Action != Retain || got[0].Reason != Terminating {
			t.Errorf("%s %s", got[0].Action, got[0].Reason)
		}
	})
}

func TestBlockedBy(t *testing.T) {
	workload := testWorkload("Deployment", "app", "app", map[string]any{"persistentVolumeClaim": map[string]any{"claimName": "disk"}})
	for _, orphan := range orphansOf("app") {
		key := object.RefOf(orphan)
		rejected := sets.New(ReferenceTo(key))
		_, stopped := BlockedBy(Step{Ref: object.RefOf(workload), Object: workload}, rejected)
		if want := key.Kind == "ServiceAccount" && key.Name == "app"; stopped != want {
			t.Errorf("%s rejected: the workload is stopped: %v, want %v", key, stopped, want)
		}
		if key.Kind != "RoleBinding" {
			continue
		}
		if _, stopped := BlockedBy(Step{Ref: key, Object: orphan}, sets.New(ReferenceTo(object.RefOf(orphansOf(key.Name)[1])))); !stopped {
			t.Errorf("%s is not blocked without its role", key)
		}
	}
	if _, stopped := BlockedBy(Step{Ref: object.RefOf(workload), Object: workload}, sets.New(Reference{pvcKind, "disk"})); !stopped {
		t.Error("the workload is not blocked without its claim")
	}
}
