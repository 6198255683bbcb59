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

// frozenCache is a cache that shows what it showed when it was taken.
type frozenCache struct{ lists map[string][]client.Object }

// freeze takes what the cache shows of the instance's namespace now.
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

var _ = Describe("A cache that is behind", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	It("is not believed about our own writes", func() {
		site.settle()
		site.freeze()
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(1))
		var outcome composition.Result
		Expect(requests.during(func() { outcome = site.mustReconcile() })).To(BeEmpty())
		Expect(outcome.RequeueAfter).To(BeNumerically("<=", 5*time.Second))
		Expect(outcome.RequeueAfter).NotTo(BeZero(), "the cache may never show an object that was deleted since")
		containers, _, _ := nestedSlice(outcome.Objects.Get(site.key("apps", "Deployment", "shop")), "spec", "template", "spec", "containers")
		Expect(containers[0]).To(HaveKeyWithValue("image", "web:2"), "what is live is what we wrote")

		By("removing it again before the cache shows it")
		site.request.Input.Layers = nil
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(1))
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("web:1"))
	})

	It("is not believed about what we made", func() {
		site.freeze()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(HaveLen(6))
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())

		By("asking the API server when it stays behind")
		later := time.Now().Add(time.Minute)
		site.engine.Clock = func() time.Time { return later }
		made := requests.during(func() { site.mustReconcile() })
		Expect(made).To(HaveLen(6))
		Expect(made).To(HaveEach(HavePrefix("GET ")))

		By("making again what is gone")
		role := &rbacv1.Role{}
		site.get(role, "site")
		Expect(admin.Delete(site.ctx, role)).To(Succeed())
		site.mustReconcile()
		site.get(role, "site")
	})

	It("is not believed about what we deleted", func() {
		site.settle()
		site.freeze()
		site.request.Input.Templates[0].Components = nil
		Expect(site.mustReconcile().Pruned).To(HaveLen(3))
		var outcome composition.Result
		Expect(requests.during(func() { outcome = site.mustReconcile() })).To(BeEmpty())
		Expect(outcome.Pruned).To(BeEmpty(), "told once")

		By("wanting it again before the cache shows that it is gone")
		site.request.Input.Templates[0].Components = []string{"account"}
		site.mustReconcile()
		Expect(site.exists(&rbacv1.Role{}, "site")).To(BeTrue())
	})

	It("does not bring back what was deleted behind it", func() {
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

	It("does not make us delete another object of the same name", func() {
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

var _ = Describe("What the cache cannot show", func() {
	It("is listed by the initial scan, and not again", func() {
		site := newInstance()
		lists := func(made []string) []string {
			return slices.DeleteFunc(made, func(request string) bool {
				return !strings.HasPrefix(request, "GET ") || !slices.ContainsFunc([]string{
					"/serviceaccounts", "/roles", "/rolebindings", "/configmaps", "/services", "/deployments", "/statefulsets",
				}, func(plural string) bool { return strings.HasSuffix(request, plural) })
			})
		}
		Expect(lists(requests.during(func() { site.mustReconcile() }))).To(HaveLen(len(kinds)))
		site.request.Input.Templates[0].Parameters["name"] = "store"
		Expect(lists(requests.during(func() { site.settle() }))).To(BeEmpty())
	})

	It("is not asked for where there can be nothing", func() {
		site := newInstance()
		site.request.SkipInitialScan = true
		site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "kiosk"},
			template.Ref{Folder: "depot", Parameters: map[string]string{"stock": "1", "size": "1Gi"}})
		Expect(requests.during(func() { site.mustReconcile() })).To(HaveEach(HavePrefix("PATCH ")))
		site.settle()
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("is not taken over by making a child", func() {
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
		site.deployment() // the rest goes on

		By("making it when the name is free")
		Expect(admin.Delete(site.ctx, foreign)).To(Succeed())
		later := time.Now().Add(time.Hour)
		site.engine.Clock = func() time.Time { return later }
		site.settle()
	})

	It("is all that is asked for after a restart", func() {
		site := newInstance()
		site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "kiosk"},
			template.Ref{Folder: "depot", Parameters: map[string]string{"stock": "1", "size": "1Gi"}})
		site.settle()
		site.engine = newEngine()
		Expect(requests.during(func() { site.mustReconcile() })).To(And(
			HaveLen(len(kinds)+1), HaveEach(HavePrefix("GET ")), ContainElement(HaveSuffix("/controllerrevisions"))))
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("is asked for once a minute where it is in the way", func() {
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
				outcome := site.mustReconcile()
				Expect(outcome.Blocked()).To(HaveLen(1))
				Expect(outcome.RequeueAfter).To(Equal(time.Minute))
			}
		})).To(BeEmpty())

		Expect(admin.Delete(site.ctx, foreign)).To(Succeed())
		now = now.Add(time.Minute)
		site.mustReconcile()
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(service.Labels).To(HaveKey(policy.OwnerLabel()))
	})

	It("is a child that lost its label", func() {
		site := newInstance()
		site.settle()
		site.refresh()
		site.patch(&corev1.Service{}, "shop", `{"metadata":{"labels":null}}`)
		site.cached()
		site.settle()
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(service.Labels).To(HaveKey(policy.OwnerLabel()))
	})

	It("is listed once for the owners of a namespace, and again later", func() {
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

	It("is refused as a kind of child when the engine was not told of it", func() {
		site := newInstance()
		site.engine = newEngine(func(config *composition.Config) { config.Kinds = kinds[1:] })
		_, err := site.reconcile()
		var refused *composition.RenderError
		Expect(err).To(BeAssignableToTypeOf(refused))
		Expect(err).To(MatchError(ContainSubstring("the engine is not configured for kind /v1, Kind=ServiceAccount")))
	})
})
