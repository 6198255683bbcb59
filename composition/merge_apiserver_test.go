package composition_test

import (
	"encoding/json"
	"fmt"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// The API server decides whether the result of a merge is valid: each example is sent to it as a
// dry-run of server-side apply to the live base.
var _ = Describe("A merged object", Ordered, func() {
	var (
		namespace string
		bases     = map[string]*unstructured.Unstructured{}
	)

	apply := func(object *unstructured.Unstructured, options ...client.ApplyOption) error {
		options = append(options, client.FieldOwner("merge-test"), client.ForceOwnership)
		return admin.Apply(lifetime, client.ApplyConfigurationFromUnstructured(object), options...)
	}

	BeforeAll(func() {
		created := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "merge-"}}
		Expect(admin.Create(lifetime, created)).To(Succeed())
		namespace = created.Name
		for _, item := range mergeExamples("testdata/merge_apply/base.yaml") {
			base := &unstructured.Unstructured{Object: item}
			base.SetNamespace(namespace)
			bases[base.GetKind()] = base
			Expect(apply(base.DeepCopy())).To(Succeed())
		}
	})

	for _, example := range mergeExamples("testdata/merge_apply/overrides.yaml") {
		kind, override := example["kind"].(string), example["override"].(map[string]any)

		It("is accepted: "+example["name"].(string), func() {
			base := bases[kind]
			merged, err := merge.StrategicMerge(base.GroupVersionKind(), base.Object, override)
			Expect(err).NotTo(HaveOccurred())

			applied := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(merged)}
			Expect(apply(applied, client.DryRunAll)).To(Succeed())
			expectContained("spec", canonicalSpec(kind, merged), canonicalSpec(kind, applied.Object))
		})

		if example["rejectedByKubernetes"] == true {
			It("is rejected after Kubernetes' strategic merge: "+example["name"].(string), func() {
				base := bases[kind]
				baseJSON, err := json.Marshal(base.Object)
				Expect(err).NotTo(HaveOccurred())
				overrideJSON, err := json.Marshal(override)
				Expect(err).NotTo(HaveOccurred())
				patched, err := strategicpatch.StrategicMergePatch(baseJSON, overrideJSON, appsv1.Deployment{})
				Expect(err).NotTo(HaveOccurred())
				object := &unstructured.Unstructured{}
				Expect(object.UnmarshalJSON(patched)).To(Succeed())
				Expect(apply(object, client.DryRunAll)).NotTo(Succeed())
			})
		}
	}
})

// canonicalSpec returns the spec of an object in the form of the API server, without zero values.
func canonicalSpec(kind string, object map[string]any) any {
	GinkgoHelper()
	var typed runtime.Object = &appsv1.Deployment{}
	if kind == "Service" {
		typed = &corev1.Service{}
	}
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, typed, true)).To(Succeed())
	written, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	Expect(err).NotTo(HaveOccurred())
	return written["spec"]
}

// expectContained expects that got has everything in want, that other fields are defaults, and that
// lists have the same length.
func expectContained(path string, want, got any) {
	GinkgoHelper()
	switch want := want.(type) {
	case nil: // not set
	case map[string]any:
		object, _ := got.(map[string]any)
		for key, value := range want {
			expectContained(path+"."+key, value, object[key])
		}
	case []any:
		Expect(got).To(HaveLen(len(want)), path)
		for i, item := range want {
			expectContained(fmt.Sprintf("%s[%d]", path, i), item, got.([]any)[i])
		}
	default:
		Expect(got).To(Equal(want), path)
	}
}

// mergeExamples returns the examples in a file. It panics on errors, because it is called while the
// tree of specs is built.
func mergeExamples(file string) []map[string]any {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		panic(err)
	}
	var items []any
	if err := utiljson.Unmarshal(asJSON, &items); err != nil {
		panic(err)
	}
	var examples []map[string]any
	for _, item := range items {
		examples = append(examples, item.(map[string]any))
	}
	return examples
}
