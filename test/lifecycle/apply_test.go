package lifecycle_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// A GitOps tool renders charts, applies them server-side as a manager of its own,
// and shows what is different from then on.
var _ = Describe("A GitOps tool", Ordered, func() {
	const gitOps = "gitops"
	i := installation{operator: "apply", data: "apply"}
	manifests := map[string]string{}
	BeforeAll(func() {
		Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.data}})).To(Succeed())
		startScheduler(i.data)
		DeferCleanup(func() {
			// While the scheduler is there, and before the CRDs, whose end looks every five
			// seconds for what is left of theirs.
			for _, object := range []client.Object{i.model(), i.server("mlserver"), i.server("triton"), i.runtime()} {
				Expect(user.Delete(lifetime, object)).To(Succeed())
				untilGone(object)
			}
			removeCRDs()
			Expect(user.Delete(lifetime, deployment(i.operator, operator))).To(Succeed())
		})
		for _, release := range releases {
			manifests[release] = filepath.Join(GinkgoT().TempDir(), release+".yaml")
			rendered := i.helm("template", release, chartOf(release), "--no-hooks")
			Expect(os.WriteFile(manifests[release], []byte(rendered), 0o600)).To(Succeed())
		}
	})

	// flags have kubectl do as the tool does.
	flags := func(release string) []string {
		return []string{"--server-side", "--field-manager=" + gitOps, "--filename=" + manifests[release]}
	}
	apply := func() {
		GinkgoHelper()
		for _, release := range releases {
			kubectl(append([]string{"apply"}, flags(release)...)...)
			if release == crds {
				kubectl("wait", "--for=condition=Established", "--filename="+manifests[crds])
			}
		}
	}

	It("brings everything up", func() {
		apply()
		Expect(user.Create(lifetime, i.model())).To(Succeed())
		i.untilReady()
	})

	It("sees no difference, and changes nothing when it applies again", func() {
		before := content(i.data)
		for _, release := range releases {
			Expect(kubectl(append([]string{"diff"}, flags(release)...)...)).To(BeEmpty())
		}
		apply()
		Consistently(func() string { return cmp.Diff(before, content(i.data)) }).Should(BeEmpty())
	})

	It("owns no field together with the operator", func() {
		Expect(i.sharedFields(gitOps)).To(BeEmpty())
	})
})

// sharedFields are the fields that the operator owns of what a manager renders, by
// object. Of configurations it owns none at all.
func (i installation) sharedFields(manager string) map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	for _, object := range []client.Object{
		i.runtime(), i.server("mlserver"), i.server("triton"),
		&v1alpha1.SeldonConfig{ObjectMeta: metav1.ObjectMeta{Namespace: i.operator, Name: "default"}},
		&v1alpha1.ServerConfig{ObjectMeta: metav1.ObjectMeta{Namespace: i.operator, Name: "mlserver"}},
	} {
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(object), object)).To(Succeed())
		renders, operators := fields(object, manager), fields(object, "seldon-operator")
		Expect(renders.Empty()).To(BeFalse(), "%s owns nothing of %T %s", manager, object, object.GetName())
		_, has := object.(status.Object)
		Expect(operators.Empty()).To(Equal(!has), "of %T %s the operator owns %s", object, object.GetName(), operators)
		if shared := renders.Intersection(operators); !shared.Empty() {
			found[object.GetName()] = shared.String()
		}
	}
	return found
}

// fields are what managers own whose names begin so.
func fields(object client.Object, manager string) *fieldpath.Set {
	GinkgoHelper()
	all := fieldpath.NewSet()
	for _, entry := range object.GetManagedFields() {
		if strings.HasPrefix(entry.Manager, manager) {
			owned := fieldpath.NewSet()
			Expect(owned.FromJSON(entry.FieldsV1.GetRawReader())).To(Succeed())
			all = all.Union(owned)
		}
	}
	return all.Leaves()
}
