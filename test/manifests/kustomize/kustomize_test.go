// Package kustomize_test tests the Kustomize folders of config/: each builds, every
// component can be combined with every overlay, and the API server accepts the result.
package kustomize_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

const config = "../../../config"

// overlays maps each overlay to the namespace of its operator.
var overlays = map[string]string{"default": "seldon-system", "namespaced": "seldon-mesh"}

func TestEveryFolderBuilds(t *testing.T) {
	for _, folder := range folders(t, types.KustomizationKind) {
		t.Run(folder, func(t *testing.T) { build(t, filepath.Join(config, folder)) })
	}
}

// TestComponentsCombine builds each overlay with each component, and with all.
func TestComponentsCombine(t *testing.T) {
	for overlay, namespace := range overlays {
		for name, components := range combinations(t) {
			t.Run(overlay+" with "+name, func(t *testing.T) {
				plain := build(t, filepath.Join(config, overlay))
				with := build(t, layer(t, []string{filepath.Join(config, overlay)}, components))
				if !has(overlay, name) && manifests(t, with) == manifests(t, plain) {
					t.Error("the components change nothing")
				}
				for _, r := range plain.Resources() {
					if _, err := with.GetByCurrentId(r.CurId()); err != nil {
						t.Errorf("the components remove an object: %v", err)
					}
				}
				for _, r := range with.Resources() {
					if !r.GetGvk().IsClusterScoped() && r.GetNamespace() != namespace {
						t.Errorf("%s is in namespace %q, want %s", r.CurId(), r.GetNamespace(), namespace)
					}
				}
			})
		}
	}
}

func manifests(t *testing.T, resources resmap.ResMap) string {
	t.Helper()
	content, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestApply applies each overlay, without and with all components, with the Kustomize
// of kubectl.
func TestApply(t *testing.T) {
	kubectl, err := binaries.Path(binaries.Kubectl)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := controlplane.Start(t.Context(), controlplane.Options{APIServerOnly: true, CRDs: []string{"testdata/crds"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	apply := func(t *testing.T, folder string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", cp.KubeconfigPath(), "apply", "--validate=strict", "-k", folder)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("kubectl apply -k: %v\n%s", err, out)
		}
	}
	apply(t, filepath.Join(config, "crd"))
	command := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", cp.KubeconfigPath(), "wait", "--for=condition=Established", "crd", "--all")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			apply(t, filepath.Join(config, overlay))
			apply(t, layer(t, []string{filepath.Join(config, overlay)}, combinations(t)["all"]))
		})
	}
	t.Run("a team's namespace", func(t *testing.T) { apply(t, team(t)) })
}

func TestHighAvailability(t *testing.T) {
	built := build(t, layer(t, []string{filepath.Join(config, "default")}, []string{"high-availability"}))
	var deployment appsv1.Deployment
	get(t, built, "Deployment", "seldon-v2-controller-manager", &deployment)
	var budget policyv1.PodDisruptionBudget
	get(t, built, "PodDisruptionBudget", "seldon-v2-controller-manager", &budget)
	pod := deployment.Spec.Template
	if *deployment.Spec.Replicas != 2 {
		t.Errorf("the Deployment has %d replicas, want 2", *deployment.Spec.Replicas)
	}
	if !matches(t, budget.Spec.Selector, pod.Labels) {
		t.Errorf("the budget's %v does not select the operator's pods", budget.Spec.Selector)
	}
	var keys []string
	for _, c := range pod.Spec.TopologySpreadConstraints {
		keys = append(keys, c.TopologyKey)
		// Two replicas on one node are better than one.
		if c.WhenUnsatisfiable != corev1.ScheduleAnyway || !matches(t, c.LabelSelector, pod.Labels) {
			t.Errorf("constraint %+v", c)
		}
	}
	if !slices.Equal(keys, []string{corev1.LabelTopologyZone, corev1.LabelHostname}) {
		t.Errorf("spread over %v", keys)
	}
	if !slices.ContainsFunc(built.Resources(), func(r *resource.Resource) bool {
		return r.GetKind() == "PriorityClass" && r.GetName() == pod.Spec.PriorityClassName
	}) {
		t.Errorf("there is no PriorityClass %q", pod.Spec.PriorityClassName)
	}
}

// TestOpenShift checks that the component removes user and group IDs from all pods,
// since the platform assigns them, and changes nothing else.
func TestOpenShift(t *testing.T) {
	fixed := regexp.MustCompile(`(runAsUser|runAsGroup|fsGroup|supplementalGroups): .*`)
	text := func(folder string) string {
		content, err := build(t, folder).AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	without := text(layer(t, []string{filepath.Join(config, "default")}, []string{"openshift"}))
	if found := fixed.FindAllString(without, -1); found != nil {
		t.Errorf("the pods have %v", found)
	}
	var rest []string
	for line := range strings.Lines(text(filepath.Join(config, "default"))) {
		if !fixed.MatchString(line) {
			rest = append(rest, line)
		}
	}
	if strings.Join(rest, "") != without {
		t.Error("the component changes more than users and groups")
	}
}

// TestCertificates checks that the certificates have the names by which components
// connect, in two namespaces.
func TestCertificates(t *testing.T) {
	for _, c := range []struct {
		namespace string
		folder    string
	}{
		{"team", filepath.Join("testdata", "certificates")}, {"seldon-mesh", layer(t, []string{filepath.Join(config, "namespaced")}, []string{"certificates"})},
	} {
		ns := c.namespace
		scheduler := []string{"seldon-scheduler", "seldon-scheduler." + ns, "seldon-scheduler." + ns + ".svc", "seldon-scheduler.svc", "localhost"}
		all := []string{ns, "*." + ns, "*." + ns + ".svc", "localhost"}
		want := map[string]string{
			"seldon-ca":                  fmt.Sprint("cacert seldon-ca seldon-issuer ", all[1:]),
			"seldon-controlplane-server": fmt.Sprint("seldon-controlplane-server ", ns, ".svc seldon-ca-issuer ", scheduler),
			"seldon-controlplane-client": fmt.Sprint("seldon-controlplane-client ", ns, ".svc seldon-ca-issuer ", scheduler),
			"seldon-upstream-server":     fmt.Sprint("seldon-upstream-server *.", ns, ".svc seldon-ca-issuer ", all),
			"seldon-upstream-client":     fmt.Sprint("seldon-upstream-client *.", ns, ".svc seldon-ca-issuer ", all),
			"seldon-downstream-server":   fmt.Sprint("seldon-downstream-server ", ns, ".svc seldon-ca-issuer ", []string{ns, ns + ".svc", "localhost"}),
			"seldon-downstream-client":   fmt.Sprint("seldon-downstream-client *.", ns, ".svc seldon-ca-issuer ", all),
		}
		built := build(t, c.folder)
		got := map[string]string{}
		for _, r := range built.Resources() {
			if r.GetKind() != "Certificate" {
				continue
			}
			var certificate struct {
				Spec struct {
					SecretName, CommonName string
					DNSNames               []string
					IssuerRef              struct{ Name string }
				}
			}
			get(t, built, "Certificate", r.GetName(), &certificate)
			spec := certificate.Spec
			got[r.GetName()] = fmt.Sprint(spec.SecretName, " ", spec.CommonName, " ", spec.IssuerRef.Name, " ", spec.DNSNames)
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s in %s:\ngot  %s\nwant %s", name, ns, got[name], want[name])
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %d certificates, want %d", len(got), len(want))
		}
	}
}

// TestDocumentedLayers builds the layers in docs/, and checks the content of some.
func TestDocumentedLayers(t *testing.T) {
	pages, err := filepath.Glob("../../../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	// One directory for all, like dist/ in a checkout: layers reference each other.
	dist := t.TempDir()
	built := map[string]resmap.ResMap{}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range shownLayer.FindAllStringSubmatch(string(content), -1) {
			folder := filepath.Join(dist, found[1])
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			text := strings.ReplaceAll(found[2], "../../config", relative(t, folder, config))
			text = strings.ReplaceAll(text, "namespace.yaml", relative(t, folder, "testdata/team"))
			if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			built[found[1]] = nil
		}
	}
	for name := range built {
		built[name] = build(t, filepath.Join(dist, name))
	}
	for _, name := range []string{"tls", "team", "policies", "ha", "ops", "token", "tenants"} {
		if built[name] == nil {
			t.Fatalf("no page has dist/%s/kustomization.yaml", name)
		}
	}
	text, err := built["tls"].AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range protocol.FindAllStringSubmatch(string(text), -1) {
		if want := map[bool]string{true: "SSL", false: "PLAINTEXT"}[!strings.Contains(found[1], "KAFKA")]; found[2] != want {
			t.Errorf("%s is %s, want %s", found[1], found[2], want)
		}
	}
	ops, err := built["ops"].AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`'*.ops.svc'`, "seldon-scheduler.ops.svc"} {
		if !strings.Contains(string(ops), want) {
			t.Errorf("no certificate in ops has the name %s", want)
		}
	}
	for _, r := range built["team"].Resources() {
		if name := r.GetName(); name == "seldon-issuer" || name == "seldon-ca" {
			t.Errorf("the layer of the team has its own %s %s", r.GetKind(), name)
		}
	}
}

var (
	shownLayer = regexp.MustCompile("(?s)```yaml\n# dist/([a-z]+)/kustomization.yaml[^\n]*\n(.*?)```")
	protocol   = regexp.MustCompile(`name: (\w+_SECURITY_PROTOCOL)\n\s+value: (\w+)`)
)

// matches returns whether a selector matches labels.
func matches(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(of))
}

// folders returns the paths, relative to config/, of the kustomizations of a kind.
func folders(t *testing.T, kind string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(config, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var k types.Kustomization
		if err := yaml.Unmarshal(content, &k); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if k.Kind == kind {
			folder, _ := filepath.Rel(config, filepath.Dir(path))
			found = append(found, folder)
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("no folder with a %s: %v", kind, err)
	}
	return found
}

// combinations returns each component alone, by its name, and all together as "all".
// layer leaves out those that an overlay already has.
func combinations(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, folder := range folders(t, types.ComponentKind) {
		name := strings.TrimPrefix(folder, "components/")
		found[name] = []string{name}
		found["all"] = append(found["all"], name)
	}
	return found
}

// team returns a layer for a namespace with a data plane and without an operator.
func team(t *testing.T) string {
	t.Helper()
	namespace := filepath.Join("testdata", "team")
	return layer(t, []string{namespace}, []string{"certificates", "data-plane-network-policies"})
}

// layer creates a directory with a kustomization, as a user would.
func layer(t *testing.T, resources, components []string) string {
	t.Helper()
	folder := t.TempDir()
	var k types.Kustomization
	for _, path := range resources {
		k.Resources = append(k.Resources, relative(t, folder, path))
	}
	for _, component := range components {
		if has(filepath.Base(resources[0]), component) {
			continue
		}
		k.Components = append(k.Components, relative(t, folder, filepath.Join(config, "components", component)))
	}
	content, err := yaml.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return folder
}

// has returns whether an overlay already has a component.
func has(overlay, component string) bool { return overlay == "default" && component == "metrics" }

// relative returns a path relative to an absolute directory, as Kustomize requires.
func relative(t *testing.T, folder, path string) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Rel(folder, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// build builds a kustomization.
func build(t *testing.T, folder string) resmap.ResMap {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("build %s: %v", folder, err)
	}
	return built
}

// get decodes an object of a build.
func get(t *testing.T, built resmap.ResMap, kind, name string, to any) {
	t.Helper()
	for _, r := range built.Resources() {
		if r.GetKind() == kind && r.GetName() == name {
			content, err := r.AsYAML()
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(content, to); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the build has no %s %s", kind, name)
}
