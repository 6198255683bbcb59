package composition_test

import (
	"context"
	"errors"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// use replaces the instance's templates by one.
func (i *instance) use(tmpl string, values map[string]string) {
	i.request.Input.Templates = []template.Ref{{Folder: tmpl, Parameters: values}}
}

// key returns the reference to an object of the instance.
func (i *instance) key(group, kind, name string) object.Ref {
	key := object.Ref{Namespace: i.owner.Namespace, Name: name}
	key.Group, key.Version, key.Kind = group, "v1", kind
	return key
}

func (i *instance) depot() *appsv1.StatefulSet {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	i.get(set, "depot")
	return set
}

// exists reports whether the API server has the object.
func (i *instance) exists(obj client.Object, name string) bool {
	GinkgoHelper()
	err := admin.Get(i.ctx, client.ObjectKey{Namespace: i.owner.Namespace, Name: name}, obj)
	Expect(client.IgnoreNotFound(err)).NotTo(HaveOccurred())
	return err == nil
}

// patch changes an object, as a user would.
func (i *instance) patch(obj client.Object, name, patch string, options ...client.PatchOption) {
	GinkgoHelper()
	i.get(obj, name)
	Expect(admin.Patch(i.ctx, obj, client.RawPatch(types.MergePatchType, []byte(patch)), options...)).To(Succeed())
}

// scale sets replicas through the scale subresource, as `kubectl scale` and
// autoscalers do.
func (i *instance) scale(obj client.Object, name string, replicas int32) {
	GinkgoHelper()
	i.get(obj, name)
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	Expect(admin.SubResource("scale").Update(i.ctx, obj, client.WithSubResourceBody(scale))).To(Succeed())
}

// refresh waits for the cache and reconciles.
func (i *instance) refresh() composition.Result {
	GinkgoHelper()
	i.cached()
	return i.mustReconcile()
}

// onPods returns an overlay with a pod spec.
func onPods(spec map[string]any) map[string]any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
}

// webContainer returns an overlay of the container in the templates.
func webContainer(fields map[string]any) map[string]any {
	fields["name"] = "web"
	return onPods(map[string]any{"containers": []any{fields}})
}

// predecessor creates the rendered objects as another operator would have: created and updated
// with its own field manager, controlled by the owner, with an annotation for the last applied
// configuration, and with metadata that it copied into pod templates.
func (i *instance) predecessor(changes ...func(*unstructured.Unstructured)) {
	GinkgoHelper()
	rendered, err := composition.Render(i.engine.templates, i.request.Input, composition.Options{})
	Expect(err).NotTo(HaveOccurred())
	for _, child := range rendered.Objects {
		obj := child.Object.DeepCopy()
		obj.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(i.owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))})
		obj.SetAnnotations(map[string]string{lastApplied: "{}"})
		if obj.GroupVersionKind().Group == "apps" {
			Expect(unstructured.SetNestedField(obj.Object, "Helm", "spec", "template", "metadata", "labels", "app.kubernetes.io/managed-by")).To(Succeed())
			Expect(unstructured.SetNestedField(obj.Object, "shop", "spec", "template", "metadata", "annotations", "meta.helm.sh/release-name")).To(Succeed())
		}
		for _, change := range changes {
			change(obj)
		}
		// As the Go type, because such an operator sends its zero values as well.
		typed, err := admin.Scheme().New(obj.GroupVersionKind())
		Expect(err).NotTo(HaveOccurred())
		Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, typed)).To(Succeed())
		created := typed.(client.Object)
		Expect(admin.Create(i.ctx, created, client.FieldOwner(predecessorManager))).To(Succeed())
		annotations := created.GetAnnotations()
		annotations["example.org/written"] = "twice"
		created.SetAnnotations(annotations)
		Expect(client.IgnoreNotFound(updateRetrying(i.ctx, created))).To(Succeed())
	}
}

const (
	predecessorManager = "manager"
	lastApplied        = "example.org/last-applied"
)

// updateRetrying updates annotations by `Update`, with retries if the status has changed.
func updateRetrying(ctx context.Context, obj client.Object) error {
	annotations := obj.GetAnnotations()
	for {
		err := admin.Update(ctx, obj, client.FieldOwner(predecessorManager))
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		obj.SetAnnotations(annotations)
	}
}

// faulty is a client whose applies fail if fail returns an error for the kind.
type faulty struct {
	client.Client
	fail func(kind string) error
}

func (f faulty) Apply(ctx context.Context, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	if err := f.fail(obj.(interface{ GetKind() string }).GetKind()); err != nil {
		return err
	}
	return f.Client.Apply(ctx, obj, options...)
}

// patchless is a client whose patches fail, except applies.
type patchless struct{ client.Client }

func (patchless) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errStopped
}

// errStopped is the error of requests after the operator was stopped.
var errStopped = errors.New("stopped")

// stopBefore reconciles with an engine that is stopped before it applies an object of a kind, and
// then starts a new engine.
func (i *instance) stopBefore(kind string) {
	GinkgoHelper()
	i.engine.Client = faulty{writer, func(applied string) error {
		if applied == kind {
			return errStopped
		}
		return nil
	}}
	_, err := i.reconcile()
	Expect(err).To(MatchError(errStopped))
	i.engine = newEngine()
	i.cached()
}

func nestedSlice(obj *unstructured.Unstructured, path ...string) ([]any, bool, error) {
	return unstructured.NestedSlice(obj.Object, path...)
}

// plannedWrites returns the number of steps of a plan that may write.
func plannedWrites(planned plan.Plan) int {
	count := 0
	for _, step := range slices.Concat(planned.Steps, planned.Prunes) {
		if step.Action == plan.Apply || step.Action == plan.Recreate || step.Action == plan.Delete {
			count++
		}
	}
	return count
}
