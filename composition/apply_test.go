package composition_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing/fstest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// interceptor is a client whose requests a test can reject, like an admission webhook, or fail,
// like a broken connection.
type interceptor struct {
	client.Client
	apply  func(obj *kindAndName, dryRun bool) error
	delete func(client.Object) error
	patch  func(client.Object) error
}

type kindAndName struct{ kind, name string }

func (i interceptor) Apply(ctx context.Context, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	applied := obj.(interface {
		GetKind() string
		GetName() string
	})
	given := &client.ApplyOptions{}
	given.ApplyOptions(options)
	if i.apply != nil {
		if err := i.apply(&kindAndName{applied.GetKind(), applied.GetName()}, len(given.DryRun) > 0); err != nil {
			return err
		}
	}
	return i.Client.Apply(ctx, obj, options...)
}

func (i interceptor) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if i.patch != nil {
		if err := i.patch(obj); err != nil {
			return err
		}
	}
	return i.Client.Patch(ctx, obj, patch, options...)
}

func (i interceptor) Delete(ctx context.Context, obj client.Object, options ...client.DeleteOption) error {
	if i.delete != nil {
		if err := i.delete(obj); err != nil {
			return err
		}
	}
	return i.Client.Delete(ctx, obj, options...)
}

var _ = Describe("Apply of a plan", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	// many adds objects of one wave.
	many := func(count int) {
		templates, err := template.Load(fstest.MapFS{
			"one/kustomization.yaml": {Data: []byte("resources: [parameters.yaml, one.yaml]\nreplacements:\n" +
				"- source: {kind: ConfigMap, name: parameters, fieldPath: data.name}\n  targets: [{select: {kind: ConfigMap, name: one}, fieldPaths: [metadata.name]}]\n")},
			"one/parameters.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: parameters\n  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata: {name: x}\n")},
			"one/one.yaml":        {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")},
		}, "composition.seldon-operator.dev/")
		Expect(err).NotTo(HaveOccurred())
		site.engine = newEngine(func(config *composition.Config) { config.Templates = templates })
		site.request.Input.Templates = nil
		for i := range count {
			site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "one", Parameters: map[string]string{"name": fmt.Sprintf("one-%d", i)}})
		}
	}

	It("sends at most 8 requests in parallel, to apply, to prune and to delete", func() {
		var inFlight, most atomic.Int64
		var barrier sync.Mutex
		count := func() func() {
			now := inFlight.Add(1)
			barrier.Lock()
			most.Store(max(most.Load(), now))
			barrier.Unlock()
			time.Sleep(time.Millisecond) // so that all requests that may start do
			return func() { inFlight.Add(-1) }
		}
		many(60)
		site.engine.Client = counted{interceptor{Client: writer}, count}
		site.mustReconcile()
		Expect(most.Swap(0)).To(BeNumerically("==", 8))
		site.cached()
		site.request.Input.Templates = site.request.Input.Templates[:20]
		Expect(site.mustReconcile().Pruned).To(HaveLen(40))
		Expect(most.Swap(0)).To(BeNumerically("==", 8))
		site.cached()
		Eventually(func() ([]object.Ref, error) { return site.engine.Delete(site.ctx, site.request.Owner) }).Should(BeEmpty())
		Expect(most.Swap(0)).To(BeNumerically("==", 8))
	})

	It("prunes nothing and applies no later waves after a transient error", func() {
		site.settle()
		site.request.Input.Templates[0].Components = nil
		site.request.Input.Templates[0].Parameters["greeting"] = "hi"
		site.layer(deployments, "shop", "metadata: {annotations: {changed: yes-it-is}}")
		site.engine.Client = interceptor{Client: writer, apply: func(obj *kindAndName, _ bool) error {
			if obj.kind == "ConfigMap" {
				return apierrors.NewServiceUnavailable("try again")
			}
			return nil
		}}
		result, err := site.reconcile()
		Expect(err).To(MatchError(ContainSubstring("try again")))
		Expect(result.Pruned).To(BeEmpty())
		Expect(site.deployment().Annotations).NotTo(HaveKey("changed"))
		Expect(site.exists(&rbacv1.Role{}, "site")).To(BeTrue())
	})

	DescribeTable("prunes orphans that a rejected object does not use", func(rejected string, kept ...string) {
		site.layer(deployments, "shop", "spec: {template: {spec: {serviceAccountName: site}}}")
		site.settle()
		site.request.Input.Templates[0].Components = nil
		site.request.Input.Layers = nil
		site.request.Input.Templates[0].Parameters["greeting"] = "hi"
		site.layer(deployments, "shop", "metadata: {annotations: {changed: yes-it-is}}")
		site.engine.Client = interceptor{Client: writer, apply: func(obj *kindAndName, _ bool) error {
			if obj.kind == rejected {
				return apierrors.NewForbidden(schema.GroupResource{}, obj.name, fmt.Errorf("rejected by the test"))
			}
			return nil
		}}
		result, err := site.reconcile()
		Expect(err).To(MatchError(ContainSubstring("rejected by the test")))
		var left []string
		for _, kind := range []client.Object{&corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}} {
			if site.exists(kind, "site") {
				left = append(left, strings.TrimPrefix(fmt.Sprintf("%T", kind), "*v1."))
			}
		}
		Expect(left).To(Equal(kept), "pruned: %v", result.Pruned)
	},
		Entry("the workload itself", "Deployment", "ServiceAccount", "Role", "RoleBinding"),
		Entry("the configuration of the workload, which blocks the workload", "ConfigMap", "ServiceAccount", "Role", "RoleBinding"),
	)

	It("does not report a rejected deletion as a deletion", func() {
		site.settle()
		site.request.Input.Templates[0].Components = nil
		site.engine.Client = interceptor{Client: writer, delete: func(obj client.Object) error {
			if obj.GetObjectKind().GroupVersionKind().Kind == "Role" {
				return apierrors.NewConflict(schema.GroupResource{Resource: "roles"}, obj.GetName(), fmt.Errorf("a webhook rejects this"))
			}
			return nil
		}}
		result, err := site.reconcile()
		Expect(err).To(MatchError(ContainSubstring("a webhook rejects this")))
		Expect(result.Pruned).To(ConsistOf(HaveField("Kind", "RoleBinding"), HaveField("Kind", "ServiceAccount")))

		site.engine.Client = writer
		site.cached()
		Expect(site.mustReconcile().Pruned).To(ConsistOf(HaveField("Kind", "Role")))
	})

	It("stops pruning at an error, so that objects are deleted before those that they need", func() {
		site.settle()
		site.request.Input.Templates = nil
		site.engine.Client = interceptor{Client: writer, delete: func(obj client.Object) error {
			if obj.GetObjectKind().GroupVersionKind().Kind == "Deployment" {
				return apierrors.NewForbidden(schema.GroupResource{}, obj.GetName(), fmt.Errorf("rejected by the test"))
			}
			return nil
		}}
		result, err := site.reconcile()
		Expect(err).To(MatchError(ContainSubstring("rejected by the test")))
		Expect(result.Pruned).To(BeEmpty())
		site.get(&corev1.ConfigMap{}, "site")
	})

	DescribeTable("adopts objects after errors of others", func(rejection error, later bool) {
		site.predecessor()
		site.engine.Client = interceptor{Client: writer, patch: func(obj client.Object) error {
			if obj.GetObjectKind().GroupVersionKind().Kind == "Service" {
				return rejection
			}
			return nil
		}}
		result, err := site.reconcile()
		child := &composition.ObjectError{}
		Expect(asObjectError(err, &child)).To(BeTrue())
		Expect(child.Ref.Kind).To(Equal("Service"))
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(service.Labels).NotTo(HaveKey(engineOptions.OwnerLabel()))
		Expect(result.Applied).To(ContainElement(HaveField("Kind", "ConfigMap")))
		applied := ContainElement(HaveField("Kind", "Deployment"))
		if !later {
			applied = Not(applied)
		}
		Expect(result.Applied).To(applied)
		site.engine.Client = writer
		site.cached()
		site.settle()
	},
		Entry("if an object is rejected", apierrors.NewForbidden(schema.GroupResource{}, "shop", fmt.Errorf("rejected by the test")), true),
		Entry("if a request fails, in this wave and those before", apierrors.NewServiceUnavailable("try again"), false),
	)

	It("does not report a correction that a webhook reverts, even if the status is updated at the same time", func() {
		site.settle()
		// As with a webhook that rewrites images: the response has the live image.
		site.patch(&appsv1.Deployment{}, "shop", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"mirror/web:1"}]}}}}`)
		site.cached()
		site.engine.Client = rewriting{writer}
		result := site.mustReconcile()
		Expect(result.DriftCorrected).To(BeEmpty())
		Expect(result.Applied).To(BeEmpty())
	})

	It("reports the field manager of the scale subresource", func() {
		now := time.Now()
		site.engine.Clock = func() time.Time { return now }
		site.layer(deployments, "shop", "spec: {replicas: 2}")
		site.settle()
		var result composition.Result
		for round := range 6 {
			now = now.Add(time.Second)
			site.scale(&appsv1.Deployment{}, "shop", int32(3+round))
			site.cached()
			result = site.mustReconcile()
		}
		Expect(result.Blocked()).To(HaveExactElements(HaveField("Message", And(
			ContainSubstring("spec.replicas is changed repeatedly by "), ContainSubstring("through the subresource scale")))))
	})

	It("applies without a dry-run if an admission webhook does not support one", func() {
		site.settle()
		site.layer(deployments, "shop", `metadata: {annotations: {changed: "1"}}`)
		site.engine = newEngine()
		site.engine.Client = interceptor{Client: writer, apply: func(_ *kindAndName, dryRun bool) error {
			if dryRun {
				return apierrors.NewBadRequest(`admission webhook "old.example.com" does not support dry run`)
			}
			return nil
		}}
		Expect(site.mustReconcile().Applied).To(HaveLen(1))
		Expect(site.deployment().Annotations).To(HaveKey("changed"))
	})
})

// counted is a client that counts its applies and deletions.
type counted struct {
	client.Client
	start func() (end func())
}

func (c counted) Apply(ctx context.Context, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	defer c.start()()
	return c.Client.Apply(ctx, obj, options...)
}

func (c counted) Delete(ctx context.Context, obj client.Object, options ...client.DeleteOption) error {
	defer c.start()()
	return c.Client.Delete(ctx, obj, options...)
}

// rewriting is a client whose applies do not change the spec, like those of an admission webhook
// that reverts them, while another controller updates the status.
type rewriting struct{ client.Client }

func (r rewriting) Apply(ctx context.Context, obj runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
	applied := obj.(client.Object)
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"collisionCount":1}}`))
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = applied.GetNamespace(), applied.GetName()
	if err := admin.Status().Patch(ctx, deployment, patch); err != nil {
		return err
	}
	return r.Get(ctx, client.ObjectKeyFromObject(applied), applied)
}
