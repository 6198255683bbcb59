package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Parse("in", strings.NewReader(text), "team")
	if err != nil {
		t.Fatal(err)
	}
	return Contents(objects)
}

const readerFiles = runtimeFile + `---
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonConfig
metadata: {name: default, labels: {of: file}}
spec: {components: []}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: team, labels: {l: x}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: team, labels: {l: z}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: m, labels: {l: x}}}
`

func names(list *corev1.ConfigMapList) string {
	var result []string
	for _, item := range list.Items {
		result = append(result, item.Namespace+"/"+item.Name)
	}
	return strings.Join(result, " ")
}

func TestReader(t *testing.T) {
	reader := NewReader(newScheme(t), parse(t, readerFiles), nil)
	ctx := t.Context()
	runtime := &v1alpha1.SeldonRuntime{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: "team", Name: "seldon"}, runtime); err != nil || runtime.Spec.SeldonConfig != "default" {
		t.Errorf("runtime is %v, %v", runtime, err)
	}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: "m", Name: "seldon"}, runtime); !apierrors.IsNotFound(err) {
		t.Errorf("runtime of another namespace: %v", err)
	}
	config := &v1alpha1.SeldonConfig{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: "any", Name: "default"}, config); err != nil || config.Labels["of"] != "file" {
		t.Errorf("config is %v, %v", config, err)
	}
	content := &unstructured.Unstructured{}
	content.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	if err := reader.Get(ctx, client.ObjectKey{Namespace: "team", Name: "a"}, content); err != nil || content.GetLabels()["l"] != "x" {
		t.Errorf("content is %v, %v", content, err)
	}
	for want, options := range map[string][]client.ListOption{
		"m/c team/a team/b": nil,
		"team/a team/b":     {client.InNamespace("team")},
		"team/a":            {client.InNamespace("team"), client.MatchingLabels{"l": "x"}},
		"team/b":            {client.MatchingFields{"metadata.name": "b"}},
		"":                  {client.InNamespace("other")},
	} {
		list := &corev1.ConfigMapList{}
		if err := reader.List(ctx, list, options...); err != nil || names(list) != want {
			t.Errorf("got %q, %v, want %q", names(list), err, want)
		}
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	if err := reader.List(ctx, list, client.InNamespace("team")); err != nil || len(list.Items) != 2 {
		t.Errorf("got %v, %v", list.Items, err)
	}
	metadata := &metav1.PartialObjectMetadataList{}
	metadata.SetGroupVersionKind(list.GroupVersionKind())
	if err := reader.List(ctx, metadata, client.MatchingLabels{"l": "x"}, client.InNamespace("team")); err != nil || len(metadata.Items) != 1 || metadata.Items[0].Name != "a" || metadata.Items[0].Kind != "ConfigMap" {
		t.Errorf("got %v, %v", metadata.Items, err)
	}
}

// Files are read as if they had been applied to what the other reader has.
func TestReaderOverACluster(t *testing.T) {
	scheme := newScheme(t)
	live := &v1alpha1.SeldonConfig{ObjectMeta: metav1.ObjectMeta{
		Namespace: "seldon-system", Name: "default", UID: "u", Generation: 3,
		Labels: map[string]string{"of": "cluster", "other": "kept"},
	}}
	live.Spec.Components = []v1alpha1.ComponentDefn{{Name: "a"}}
	owned := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "seldon", UID: "v", Generation: 2, Annotations: map[string]string{"a": "b"}}}
	owned.Spec.SeldonConfig, owned.Spec.DeletionPolicy = "default", v1alpha1.DeletionPolicyRetain
	owned.Status.ObservedGeneration = 2
	maps := []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "b", Labels: map[string]string{"l": "x"}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "d", Labels: map[string]string{"l": "x"}}},
	}
	var objects []*unstructured.Unstructured
	for _, each := range append(maps, live, owned) {
		gvk, err := apiutil.GVKForObject(each, scheme)
		if err != nil {
			t.Fatal(err)
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(each)
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{Object: content}
		object.SetGroupVersionKind(gvk)
		objects = append(objects, object)
	}
	reader := NewReader(scheme, parse(t, readerFiles), NewReader(scheme, objects, nil))
	ctx := t.Context()

	config := &v1alpha1.SeldonConfig{}
	if err := reader.Get(ctx, client.ObjectKeyFromObject(live), config); err != nil {
		t.Fatal(err)
	}
	if config.UID != "u" || config.Generation != 4 || config.Namespace != "seldon-system" || len(config.Spec.Components) != 0 {
		t.Errorf("config is %+v", config)
	}
	if diff := cmp.Diff(map[string]string{"of": "file", "other": "kept"}, config.Labels); diff != "" {
		t.Error(diff)
	}
	configs := &v1alpha1.SeldonConfigList{}
	if err := reader.List(ctx, configs); err != nil || len(configs.Items) != 1 || !cmp.Equal(configs.Items[0].ObjectMeta, config.ObjectMeta) {
		t.Errorf("configs are %v, %v", configs.Items, err)
	}
	runtime := &v1alpha1.SeldonRuntime{}
	if err := reader.Get(ctx, client.ObjectKeyFromObject(owned), runtime); err != nil {
		t.Fatal(err)
	}
	if runtime.UID != "v" || runtime.Generation != 2 || runtime.Annotations["a"] != "b" || runtime.Status.ObservedGeneration != 2 {
		t.Errorf("runtime is %+v", runtime)
	}
	list := &corev1.ConfigMapList{}
	if err := reader.List(ctx, list, client.InNamespace("team"), client.MatchingLabels{"l": "x"}); err != nil || names(list) != "team/a team/d" {
		t.Errorf("got %q, %v", names(list), err)
	}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: "team", Name: "d"}, &corev1.ConfigMap{}); err != nil {
		t.Error(err)
	}
}

func TestPrint(t *testing.T) {
	objects := parse(t, "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: team}}\n---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: b, namespace: team}}\n")
	for format, want := range map[string]string{
		"name": "secret/a\ndeployment.apps/b\n",
		"yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: team\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: b\n  namespace: team\n",
	} {
		out := &strings.Builder{}
		if err := Print(out, objects, format); err != nil || out.String() != want {
			t.Errorf("%s: got\n%s, %v", format, out, err)
		}
	}
	out := &strings.Builder{}
	if err := Print(out, objects, "json"); err != nil || len(parse(t, out.String())) != 2 {
		t.Errorf("json: got\n%s, %v", out, err)
	}
	if err := Print(out, objects, "text"); err == nil {
		t.Error("any format is valid")
	}
}
