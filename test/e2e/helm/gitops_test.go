package helm_test

import (
	"os"
	"path/filepath"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

// gitOps defines the specs of a GitOps tool: it renders charts, applies them server-side
// under a field manager of its own, and shows differences from then on.
func gitOps() {
	const manager = "gitops"
	i := newInstallation("apply", "apply")
	manifests := map[string]string{}
	BeforeAll(func() {
		env.InstallCRDs()
		Expect(env.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.DataNamespace}})).To(Succeed())
		env.StartScheduler(i.DataNamespace)
		DeferCleanup(func() {
			// Before the scheduler stops.
			for _, object := range []client.Object{i.Model(), i.Server("mlserver"), i.Server("triton"), i.Runtime()} {
				Expect(env.Client.Delete(ctx, object)).To(Succeed())
				env.AwaitDeleted(object)
			}
			// Helm upgrades the CRDs in other specs.
			env.ReleaseCRDs(manager)
			Expect(env.Client.Delete(ctx, env.Deployment(i.OperatorNamespace, installation.OperatorName))).To(Succeed())
		})
		for _, release := range installation.Releases {
			manifests[release] = filepath.Join(GinkgoT().TempDir(), release+".yaml")
			rendered := i.HelmRelease("template", release, installation.Chart(release), "--no-hooks")
			Expect(os.WriteFile(manifests[release], []byte(rendered), 0o600)).To(Succeed())
		}
	})

	// flags make kubectl do what the tool does.
	flags := func(release string) []string {
		return []string{"--server-side", "--field-manager=" + manager, "--filename=" + manifests[release]}
	}
	apply := func() {
		GinkgoHelper()
		for _, release := range installation.Releases {
			env.Kubectl(append([]string{"apply"}, flags(release)...)...)
			if release == installation.CRDs {
				env.Kubectl("wait", "--for=condition=Established", "--filename="+manifests[release])
			}
		}
	}

	It("installs everything", func() {
		apply()
		Expect(env.Client.Create(ctx, i.Model())).To(Succeed())
		i.AwaitReady()
	})

	It("shows no difference, and changes nothing when it applies again", func() {
		before := env.Content(i.DataNamespace)
		for _, release := range installation.Releases {
			Expect(env.Kubectl(append([]string{"diff"}, flags(release)...)...)).To(BeEmpty())
		}
		apply()
		Consistently(func() string { return cmp.Diff(before, env.Content(i.DataNamespace)) }).Should(BeEmpty())
	})

	It("shares no field with the operator", func() {
		Expect(i.SharedFields(manager)).To(BeEmpty())
	})
}
