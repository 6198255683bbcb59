package v1alpha1_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Objects that violate a rule may have been stored before the rule existed. It must be
// possible to update and delete them, and they must not affect other objects.

const (
	storedNamespace = "stored"
	testFinalizer   = "seldon.test.finalizer"
)

// undecodable are objects with values that the Go types of Kubernetes and of the upstream
// operator cannot represent. The schemas accept them, or they violate several rules.
const undecodable = "testdata/undecodable.yaml"

// updated are objects for tests of updates, some of them invalid too.
const updated = "testdata/updates.yaml"

// oldManager is the field manager of the upstream operator.
const oldManager = "manager"

// storeInvalidObjects stores an object that each rule rejects, the undecodable objects and
// those for tests of updates. It runs while the CRDs are permissive.
func storeInvalidObjects(ctx context.Context, c client.Client) error {
	var objects []*unstructured.Unstructured
	for _, file := range []string{undecodable, updated} {
		more, err := readObjects(file)
		if err != nil {
			return err
		}
		objects = append(objects, more...)
	}
	for i, rule := range rules {
		if rule.unstorable || rule.rejected == nil {
			continue
		}
		object, err := rule.object(rule.rejected, i)
		if err != nil {
			return err
		}
		objects = append(objects, object)
	}
	for _, object := range objects {
		object.SetNamespace(storedNamespace)
		object.SetFinalizers([]string{testFinalizer})
		status, hasStatus := object.Object["status"]
		if err := c.Create(ctx, object, client.FieldOwner(oldManager)); err != nil {
			return fmt.Errorf("store the invalid object %s: %w", object.GetName(), err)
		}
		if hasStatus {
			object.Object["status"] = status
			if err := c.Status().Update(ctx, object, client.FieldOwner(oldManager)); err != nil {
				return fmt.Errorf("store the status of %s: %w", object.GetName(), err)
			}
		}
	}
	return nil
}

// TestStoredInvalidObjectsDecode lists every kind with typed clients. One object that does
// not decode would make the list fail for all others of its kind.
func TestStoredInvalidObjectsDecode(t *testing.T) {
	c := apiServer(t)
	for _, kind := range kinds {
		list, err := c.Scheme().New(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.List(t.Context(), list.(client.ObjectList)); err != nil {
			t.Errorf("list every %s: %v", kind, err)
		}
		raw := &unstructured.UnstructuredList{}
		raw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := c.List(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		if got := meta.LenList(list); got == 0 || got != len(raw.Items) {
			t.Errorf("decoded %d objects of kind %s, want %d", got, kind, len(raw.Items))
		}
	}
}

// TestStoredInvalidObjectsLifecycle writes all changes of an object's life cycle that do not
// change its spec, including its deletion. With -short it uses one object for each kind and
// keyword or message, and one in ten of the others.
func TestStoredInvalidObjectsLifecycle(t *testing.T) {
	c := apiServer(t)
	used := map[string]bool{}
	for i, rule := range rules {
		if rule.unstorable || rule.rejected == nil {
			continue
		}
		of := rule.kind + " " + rule.keyword
		if testing.Short() && used[of] && rand.N(10) > 0 {
			continue
		}
		used[of] = true
		t.Run(rule.title(i), func(t *testing.T) {
			object, err := rule.object(rule.rejected, i)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Create(t.Context(), object.DeepCopy(), client.DryRunAll); !apierrors.IsInvalid(err) {
				t.Fatalf("is not invalid any more: %v", err)
			}
			checkLifecycle(t, c, object)
		})
	}
	objects, err := readObjects(undecodable)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		t.Run(object.GetKind()+" "+object.GetName(), func(t *testing.T) { checkLifecycle(t, c, object) })
	}
}

// checkLifecycle annotates the stored object, writes its status as each operator does,
// removes its finalizer and deletes it.
func checkLifecycle(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	object = object.DeepCopy()
	object.SetNamespace(storedNamespace)
	ctx, key := t.Context(), client.ObjectKeyFromObject(object)
	typed, err := c.Scheme().New(object.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	stored := typed.(client.Object)
	get := func() {
		t.Helper()
		if err := c.Get(ctx, key, stored); err != nil {
			t.Fatal(err)
		}
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	get()
	generation := stored.GetGeneration()
	must("label it", c.Patch(ctx, object.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))))
	must("annotate it by server-side apply", apply(ctx, c, object, fields{"metadata.annotations": fields{"seldon.test/a": "b"}}))
	if typed, ok := typed.(interface {
		GetConditions() []metav1.Condition
		SetConditions([]metav1.Condition)
	}); ok {
		err := writeOldStatus(ctx, c, object)
		if minorVersion(t) < statusRatcheting && apierrors.IsInvalid(err) {
			err := apply(ctx, c, object, fields{"status.observedGeneration": generation}, "status")
			if !apierrors.IsInvalid(err) {
				t.Errorf("apply its status: want that it is rejected too, got %v", err)
			}
			checkDeletion(t, c, stored)
			return
		}
		must("write its status as the upstream operator does", err)
		must("apply its status", apply(ctx, c, object, fields{
			"status.conditions": []any{newCondition("Ready", metav1.ConditionTrue)}, "status.observedGeneration": generation,
		}, "status"))
		get()
		before := stored.DeepCopyObject().(client.Object)
		conditions := typed.GetConditions()
		meta.SetStatusCondition(&conditions, newCondition("Ready", metav1.ConditionFalse))
		typed.SetConditions(conditions)
		must("patch its status", c.Status().Patch(ctx, stored, client.MergeFrom(before)))
		get()
		if !meta.IsStatusConditionFalse(typed.GetConditions(), "Ready") {
			t.Errorf("want the status that was written, got %v", typed.GetConditions())
		}
	}
	get()
	if got := stored.GetGeneration(); got != generation {
		t.Errorf("generation changed from %d to %d although the spec did not", generation, got)
	}
	checkDeletion(t, c, stored)
}

// checkDeletion deletes the stored object and removes its finalizer.
func checkDeletion(t *testing.T, c client.Client, stored client.Object) {
	t.Helper()
	ctx, key := t.Context(), client.ObjectKeyFromObject(stored)
	if err := c.Delete(ctx, stored); err != nil {
		t.Fatalf("delete it: %v", err)
	}
	if err := c.Get(ctx, key, stored); err != nil {
		t.Fatal(err)
	}
	before := stored.DeepCopyObject().(client.Object)
	stored.SetFinalizers(nil)
	if err := c.Patch(ctx, stored, client.MergeFrom(before)); err != nil {
		t.Fatalf("remove its finalizer: %v", err)
	}
	if err := c.Get(ctx, key, stored); !apierrors.IsNotFound(err) {
		t.Errorf("want it deleted, got %v", err)
	}
}

// statusRatcheting is the minor version of Kubernetes whose API server is the first to
// accept a new status of an object whose unchanged spec violates a rule.
const statusRatcheting = 33

// minorVersion returns the minor version of the shared API server.
func minorVersion(t *testing.T) int {
	t.Helper()
	discoverer, err := discovery.NewDiscoveryClientForConfig(apiConfig)
	if err != nil {
		t.Fatal(err)
	}
	version, err := discoverer.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	minor, err := strconv.Atoi(version.Minor)
	if err != nil {
		t.Fatal(err)
	}
	return minor
}

// apply applies only the given fields to an object.
func apply(ctx context.Context, c client.Client, object client.Object, set fields, subresource ...string) error {
	desired := newObject(object.GetObjectKind().GroupVersionKind().Kind)
	desired.SetName(object.GetName())
	desired.SetNamespace(object.GetNamespace())
	for path, value := range set {
		if err := setField(desired.Object, path, value); err != nil {
			return err
		}
	}
	data, err := json.Marshal(desired)
	if err != nil {
		return err
	}
	patch := client.RawPatch(types.ApplyPatchType, data)
	if len(subresource) > 0 {
		return c.SubResource(subresource[0]).Patch(ctx, desired, patch, client.FieldOwner("tester"), client.ForceOwnership)
	}
	return c.Patch(ctx, desired, patch, client.FieldOwner("tester"), client.ForceOwnership)
}

func newCondition(conditionType string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{
		Type: conditionType, Status: status, Reason: "Tested", Message: "100% of it", ObservedGeneration: 1,
		LastTransitionTime: metav1.NewTime(time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)),
	}
}

// writeOldStatus replaces the status as the upstream operator does.
func writeOldStatus(ctx context.Context, c client.Client, object client.Object) error {
	stored := newObject(object.GetObjectKind().GroupVersionKind().Kind)
	if err := c.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		return err
	}
	status, err := oldStatus(stored.GetKind())
	if err != nil {
		return err
	}
	stored.Object["status"] = status
	return c.Status().Update(ctx, stored, client.FieldOwner(oldManager))
}

// TestRulesOnUpdate checks the rules on the root of an object on updates: a valid object
// must stay valid, and an invalid one may stay invalid until it is corrected.
func TestRulesOnUpdate(t *testing.T) {
	c := apiServer(t)
	for _, test := range []struct {
		name, kind, object string
		change             fields
		rejection          string
	}{
		{"a step gets the pipeline's own name", v1alpha1.KindPipeline, "good", fields{"spec.steps": []any{fields{"name": "good"}}}, "the pipeline's own name"},
		{"a step gets another name", v1alpha1.KindPipeline, "good", fields{"spec.steps": []any{fields{"name": "fine"}}}, ""},
		{"a spec that breaks a bound is changed elsewhere", v1alpha1.KindModel, "unbounded", fields{"spec.server": "triton"}, ""},
		{"a spec that breaks an order is changed elsewhere", v1alpha1.KindModel, "disordered", fields{"spec.server": "triton"}, "replicas exceeds maxReplicas"},
		{"a spec that breaks an order is corrected", v1alpha1.KindModel, "disordered", fields{"spec.replicas": 2}, ""},
		{"a server with a bad name is changed", v1alpha1.KindServer, "1st.server-that-was-stored-before-there-was-a-rule-for-names", fields{"spec.replicas": 2}, ""},
		{"components with bad names are changed", v1alpha1.KindSeldonConfig, "misnamed", fields{"spec.components": []any{
			fields{"name": "My_Component", "replicas": 2}, fields{"name": "component-that-was-stored-before-there-was-a-rule-for-names", "replicas": 2},
		}}, ""},
		{"a component with a bad name is added", v1alpha1.KindSeldonConfig, "misnamed", fields{"spec.components": []any{fields{"name": "Your_Component"}}}, "name must consist of"},
		{"a runtime's server with a bad name is changed", v1alpha1.KindSeldonRuntime, "misnamed", fields{"spec.servers": []any{
			fields{"name": "My.Server", "serverConfig": "triton"},
		}}, ""},
		{"a runtime's server with a bad name is added", v1alpha1.KindSeldonRuntime, "misnamed", fields{"spec.servers": []any{
			fields{"name": "Your.Server", "serverConfig": "triton"},
		}}, "name must consist of"},
		{"a model with a dot in its name is changed", v1alpha1.KindModel, "dotted.name", fields{"spec.server": "triton"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := newObject(test.kind)
			object.SetName(test.object)
			object.SetNamespace(storedNamespace)
			patch := map[string]any{}
			for path, value := range test.change {
				if err := setField(patch, path, value); err != nil {
					t.Fatal(err)
				}
			}
			data, err := json.Marshal(patch)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, data), client.DryRunAll)
			switch {
			case test.rejection == "" && err != nil:
				t.Errorf("rejected: %v", err)
			case test.rejection != "" && (err == nil || !strings.Contains(err.Error(), test.rejection)):
				t.Errorf("want %q, got %v", test.rejection, err)
			}
		})
	}
	t.Run("a spec is removed", func(t *testing.T) {
		for _, kind := range kinds {
			object := newObject(kind)
			object.SetName("good")
			object.SetNamespace(storedNamespace)
			err := c.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(`{"spec":null}`)), client.DryRunAll)
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec is missing") {
				t.Errorf("%s: want that spec is required, got %v", kind, err)
			}
		}
	})
}

// TestScaleSubresource scales a Model and a Server within and beyond their bounds.
func TestScaleSubresource(t *testing.T) {
	c := apiServer(t)
	for _, kind := range []string{v1alpha1.KindModel, v1alpha1.KindServer} {
		object := newObject(kind)
		object.SetName("good")
		object.SetNamespace(storedNamespace)
		scale := &unstructured.Unstructured{}
		scale.SetGroupVersionKind(schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})
		if err := c.SubResource("scale").Get(t.Context(), object, scale); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); got != 1 {
			t.Errorf("%s: replicas of the scale are %d, want 1", kind, got)
		}
		for replicas, accepted := range map[int64]bool{3: true, 4: false} {
			err := errors.Join(
				unstructured.SetNestedField(scale.Object, replicas, "spec", "replicas"),
				c.SubResource("scale").Update(t.Context(), object, client.WithSubResourceBody(scale), client.DryRunAll),
			)
			if (err == nil) != accepted {
				t.Errorf("%s: scale to %d replicas of at most 3: %v", kind, replicas, err)
			}
		}
	}
}

// TestCorpus creates every valid manifest of the corpus.
func TestCorpus(t *testing.T) {
	c := apiServer(t)
	var files []string
	for _, pattern := range []string{
		"testdata/complete/*.yaml", "testdata/valid/*.yaml",
		"../../config/samples/*.yaml", "../../config/seldonconfigs/*.yaml",
		"../../config/serverconfigs/*.yaml", "../../config/serverconfigs/*/*.yaml",
	} {
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) == 0 {
			t.Fatalf("no file matches %s: %v", pattern, err)
		}
		files = append(files, matches...)
	}
	slices.Sort(files)
	for _, file := range files {
		objects, err := readObjects(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			t.Run(filepath.Base(file)+" "+object.GetKind()+" "+object.GetName(), func(t *testing.T) {
				// The name may be in use; only the rule about dots depends on it.
				object.SetName("corpus-" + strings.ToLower(object.GetKind()))
				stored := object.DeepCopy()
				err := c.Create(t.Context(), stored, client.DryRunAll, client.FieldValidation("Strict"))
				if err != nil {
					t.Fatal(err)
				}
				typed, err := c.Scheme().New(object.GroupVersionKind())
				if err != nil {
					t.Fatal(err)
				}
				data, err := json.Marshal(stored)
				if err != nil {
					t.Fatal(err)
				}
				decoder := json.NewDecoder(strings.NewReader(string(data)))
				decoder.DisallowUnknownFields()
				if err := decoder.Decode(typed); err != nil {
					t.Errorf("the Go type does not have every field: %v", err)
				}
			})
		}
	}
}
