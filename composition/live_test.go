package composition_test

import (
	"context"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// frozenCache is a snapshot of a cache.
type frozenCache struct{ lists map[string][]client.Object }

// freeze replaces the engine's cache by a snapshot of the instance's namespace.
func (i *instance) freeze() *frozenCache {
	GinkgoHelper()
	frozen := &frozenCache{lists: map[string][]client.Object{}}
	for _, kind := range kinds {
		list := listOf(kind)
		Expect(children.List(i.ctx, list, client.InNamespace(i.owner.Namespace))).To(Succeed())
		Expect(meta.EachListItem(list, func(object runtime.Object) error {
			frozen.lists[frozen.of(list)] = append(frozen.lists[frozen.of(list)], object.DeepCopyObject().(client.Object))
			return nil
		})).To(Succeed())
	}
	i.engine.Cache = frozen
	return frozen
}

func (c *frozenCache) of(object runtime.Object) string {
	gvk, err := admin.GroupVersionKindFor(object)
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSuffix(gvk.Kind, "List")
}

func (c *frozenCache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	var items []runtime.Object
	for _, object := range c.lists[c.of(list)] {
		items = append(items, object)
	}
	return meta.SetList(list, items)
}

func (c *frozenCache) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(rbacv1.Resource(c.of(object)), key.Name)
}

var _ = Describe("A stale cache", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	It("does not hide the engine's own writes", func() {
		site.settle()
		site.freeze()
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(1))
		var result composition.Result
		Expect(requests.during(func() { result = site.mustReconcile() })).To(BeEmpty())
		Expect(result.RequeueAfter).To(BeNumerically("<=", 5*time.Second))
		Expect(result.RequeueAfter).NotTo(BeZero(), "the cache never shows an object that was deleted in the meantime")
		containers, _, _ := nestedSlice(result.Objects.Get(site.key("apps", "Deployment", "shop")), "spec", "template", "spec", "containers")
		Expect(containers[0]).To(HaveKeyWithValue("image", "web:2"), "the response to the write is used")

		By("removing it again before the cache shows it")
		site.request.Input.Layers = nil
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(1))
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("web:1"))
	})

	It("does not hide objects that the engine has created", func() {
		site.freeze()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(6))
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())

		By("reading from the API server when the cache stays stale")
		later := time.Now().Add(time.Minute)
		site.engine.Clock = func() time.Time { return later }
		sent := requests.during(func() { site.mustReconcile() })
		Expect(sent).To(HaveLen(6))
		Expect(sent).To(HaveEach(HavePrefix("GET ")))

		By("recreating a deleted object")
		role := &rbacv1.Role{}
		site.get(role, "site")
		Expect(admin.Delete(site.ctx, role)).To(Succeed())
		site.mustReconcile()
		site.get(role, "site")
	})

	It("does not show objects that the engine has deleted", func() {
		site.settle()
		site.freeze()
		site.request.Input.Templates[0].Components = nil
		Expect(site.mustReconcile().Pruned).To(HaveLen(3))
		var result composition.Result
		Expect(requests.during(func() { result = site.mustReconcile() })).To(BeEmpty())
		Expect(result.Pruned).To(BeEmpty(), "reported once")

		By("rendering it again before the cache shows the deletion")
		site.request.Input.Templates[0].Components = []string{"account"}
		site.mustReconcile()
		Expect(site.exists(&rbacv1.Role{}, "site")).To(BeTrue())
	})

	It("does not recreate an object whose deletion it does not show", func() {
		site.settle()
		site.freeze()
		Expect(admin.Delete(site.ctx, site.deployment())).To(Succeed())
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())

		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		_, err := site.reconcile()
		Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
		Expect(site.exists(&appsv1.Deployment{}, "shop")).To(BeFalse())

		site.engine.Cache = children
		site.settle()
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("web:2"))
	})

	It("does not cause the deletion of another object of the same name", func() {
		site.settle()
		site.freeze()
		role := &rbacv1.Role{}
		site.get(role, "site")
		Expect(admin.Delete(site.ctx, role)).To(Succeed())
		role.ObjectMeta = metav1.ObjectMeta{Namespace: role.Namespace, Name: role.Name}
		Expect(admin.Create(site.ctx, role)).To(Succeed())
		site.request.Input.Templates[0].Components = nil
		Expect(site.mustReconcile().Pruned).To(HaveLen(2))
		Expect(site.exists(&rbacv1.Role{}, "site")).To(BeTrue())
	})
})

var _ = Describe("Objects that the cache does not show", func() {
	It("are listed by the initial scan, and not again", func() {
		site := newInstance()
		lists := func(sent []string) []string {
			return slices.DeleteFunc(sent, func(request string) bool {
				return !strings.HasPrefix(request, "GET ") || !slices.ContainsFunc([]string{
					"/serviceaccounts", "/roles", "/rolebindings", "/configmaps", "/services", "/deployments", "/statefulsets",
				}, func(plural string) bool { return strings.HasSuffix(request, plural) })
			})
		}
		Expect(lists(requests.during(func() { site.mustReconcile() }))).To(HaveLen(len(kinds)))
		site.request.Input.Templates[0].Parameters["name"] = "store"
		Expect(lists(requests.during(func() { site.settle() }))).To(BeEmpty())
	})

	It("are not read for a new owner", func() {
		site := newInstance()
		site.request.SkipInitialScan = true
		site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "kiosk"},
			template.Ref{Folder: "depot", Parameters: map[string]string{"stock": "1", "size": "1Gi"}})
		Expect(requests.during(func() { site.mustReconcile() })).To(HaveEach(HavePrefix("PATCH ")))
		site.settle()
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("are not changed by the creation of an object", func() {
		site := newInstance()
		site.request.SkipInitialScan = true
		foreign := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
		foreign.Namespace, foreign.Name = site.owner.Namespace, "shop"
		Expect(admin.Create(site.ctx, foreign)).To(Succeed())
		version := foreign.ResourceVersion
		_, err := site.reconcile()
		Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
		Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.OwnershipConflict)))
		site.get(foreign, "shop")
		Expect(foreign.ResourceVersion).To(Equal(version))
		site.deployment() // other objects are applied

		By("creating it when the name is not in use")
		Expect(admin.Delete(site.ctx, foreign)).To(Succeed())
		later := time.Now().Add(time.Hour)
		site.engine.Clock = func() time.Time { return later }
		site.settle()
	})

	It("are the only ones read after a restart", func() {
		site := newInstance()
		site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "kiosk"},
			template.Ref{Folder: "depot", Parameters: map[string]string{"stock": "1", "size": "1Gi"}})
		site.settle()
		site.engine = newEngine()
		Expect(requests.during(func() { site.mustReconcile() })).To(And(
			HaveLen(len(kinds)+1), HaveEach(HavePrefix("GET ")), ContainElement(HaveSuffix("/controllerrevisions"))))
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("are read once a minute if they have the name of a rendered object", func() {
		site := newInstance()
		now := time.Now()
		site.engine.Clock = func() time.Time { return now }
		foreign := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
		foreign.Namespace, foreign.Name = site.owner.Namespace, "shop"
		Expect(admin.Create(site.ctx, foreign)).To(Succeed())
		site.mustReconcile()
		site.cached()
		site.mustReconcile()
		Expect(requests.during(func() {
			for range 10 {
				result := site.mustReconcile()
				Expect(result.Blocked()).To(HaveLen(1))
				Expect(result.RequeueAfter).To(Equal(time.Minute))
			}
		})).To(BeEmpty())

		Expect(admin.Delete(site.ctx, foreign)).To(Succeed())
		now = now.Add(time.Minute)
		site.mustReconcile()
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(service.Labels).To(HaveKey(engineOptions.OwnerLabel()))
	})

	It("are found if their label was removed", func() {
		site := newInstance()
		site.settle()
		site.refresh()
		site.patch(&corev1.Service{}, "shop", `{"metadata":{"labels":null}}`)
		site.cached()
		site.settle()
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(service.Labels).To(HaveKey(engineOptions.OwnerLabel()))
	})

	It("are listed once for all owners of a namespace, and again later", func() {
		site := newInstance()
		lists := func(do func()) int {
			return len(slices.DeleteFunc(requests.during(do), func(entry string) bool {
				return entry != "GET /api/v1/namespaces/"+site.owner.Namespace+"/services"
			}))
		}
		other := site.request
		other.Owner.UID, other.Owner.Name = "another", "another"
		other.Input.Templates = nil
		scan := func() {
			_, err := site.engine.Reconcile(site.ctx, other)
			Expect(err).NotTo(HaveOccurred())
		}
		Expect(lists(func() { site.settle() })).To(Equal(1))
		Expect(lists(scan)).To(BeZero())
		later := time.Now().Add(time.Minute)
		site.engine.Clock = func() time.Time { return later }
		other.Owner.UID = "third"
		Expect(lists(scan)).To(Equal(1))
	})

	It("are rejected if the engine is not configured for their kind", func() {
		site := newInstance()
		site.engine = newEngine(func(config *composition.Config) { config.Kinds = kinds[1:] })
		_, err := site.reconcile()
		var rejected *composition.RenderError
		Expect(err).To(BeAssignableToTypeOf(rejected))
		Expect(err).To(MatchError(ContainSubstring("the engine is not configured for kind /v1, Kind=ServiceAccount")))
	})
})
