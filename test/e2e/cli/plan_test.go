package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// childKinds are the kinds that the operator creates, by resource.
var childKinds = map[string]schema.GroupVersionKind{
	"deployments": {Group: "apps", Version: "v1", Kind: "Deployment"}, "statefulsets": {Group: "apps", Version: "v1", Kind: "StatefulSet"},
	"services": {Version: "v1", Kind: "Service"}, "configmaps": {Version: "v1", Kind: "ConfigMap"}, "serviceaccounts": {Version: "v1", Kind: "ServiceAccount"},
	"roles": {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, "rolebindings": {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	"servers": v1alpha1.GroupVersion.WithKind("Server"),
}

// plannedStep and plannedOwner are the JSON form of a plan, as a script would read it.
type plannedStep struct {
	Verb, Kind, Name, Impact, Reason, Message string
	Restarts                                  bool
	Changes                                   []struct {
		Path     string
		Old, New any
	}
}

type plannedOwner struct {
	Namespace, Name, Impact, Error string
	Steps                          []plannedStep
	Servers                        []plannedOwner
}

type plannedReport struct {
	Runtimes, Servers []plannedOwner
	Summary           struct{ Writes, Restarts, Deletes, Blocked, Unverified, Unknown int }
}

// steps returns the steps that write, by namespace, kind and name.
func (r plannedReport) steps() map[string]plannedStep {
	found := map[string]plannedStep{}
	var add func(owners []plannedOwner)
	add = func(owners []plannedOwner) {
		for _, owner := range owners {
			for _, step := range owner.Steps {
				if slices.Contains([]string{"create", "patch", "recreate", "delete"}, step.Verb) {
					found[owner.Namespace+" "+step.Kind+"/"+step.Name] = step
				}
			}
			add(owner.Servers)
		}
	}
	add(r.Runtimes)
	add(r.Servers)
	return found
}

// fixture is a namespace with a runtime and a Server, its configurations, and the objects as
// they were last applied.
type fixture struct {
	namespace string
	applied   map[string]*unstructured.Unstructured
	random    *rand.Rand
	folder    string
	// size is the last size of a volume, in GiB.
	size int
}

var _ = Describe("plan", Ordered, func() {
	var f *fixture

	BeforeAll(func() {
		seed := uint64(time.Now().UnixNano())
		if text := os.Getenv("SEED"); text != "" {
			var err error
			seed, err = strconv.ParseUint(text, 10, 64)
			Expect(err).NotTo(HaveOccurred())
		}
		GinkgoWriter.Printf("SEED=%d\n", seed)
		AddReportEntry("seed", seed)
		f = &fixture{namespace: newNamespace(), applied: map[string]*unstructured.Unstructured{}, random: rand.New(rand.NewPCG(seed, 0)), folder: GinkgoT().TempDir(), size: 10}
		environment.StartScheduler(f.namespace)
		for _, file := range []string{"config/seldonconfigs/default.yaml", "config/serverconfigs/mlserver.yaml", "config/serverconfigs/triton.yaml"} {
			text, err := os.ReadFile(root(file))
			Expect(err).NotTo(HaveOccurred())
			f.apply(f.read(string(text), operatorNamespace))
		}
		f.apply(f.read(`
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata: {name: seldon}
spec:
  seldonConfig: default
  overrides: []
  servers:
    - {name: mlserver, serverConfig: mlserver, replicas: 1}
`, f.namespace))
		f.apply(f.read(`
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: large}
spec: {serverConfig: triton, replicas: 2}
`, f.namespace))
		f.settle()
	})

	It("shows no change of what is up to date", func() {
		planned := seldon("plan", "-n", f.namespace, "--exit-code")
		Expect(planned.stderr).To(HaveSuffix("Nothing would change.\n"), planned.stdout)
		Expect(planned.code).To(BeZero())
		Expect(planned.stderr).To(ContainSubstring("the operator is 0.1.0, and this plan is made by the templates of dev"))
	})

	It("lists each kind once, and makes dry-runs of what differs only", func() {
		unchanged := requestsOf(func(kubeconfig string) { Expect(seldonAs(kubeconfig, "plan", "-n", f.namespace).code).To(BeZero()) })
		expectOnce(unchanged)
		Expect(writesOf(unchanged)).To(BeEmpty())
		Expect(unchanged).To(HaveLen(15), "one LIST of each of 12 kinds, of two kinds of configurations, and of the operator's Deployment in all namespaces")

		config := f.applied["SeldonConfig/default"].DeepCopy()
		eachItem(config.Object, []string{"spec", "components"}, func(component map[string]any) {
			if component["name"] == "seldon-envoy" {
				eachItem(component, []string{"podSpec", "containers"}, func(container map[string]any) { container["image"] = "changed:1" })
			}
		})
		file := f.write(0, config)
		changed := requestsOf(func(kubeconfig string) {
			Expect(seldonAs(kubeconfig, "plan", "-n", f.namespace, "-f", file).code).To(BeZero())
		})
		expectOnce(changed)
		Expect(writesOf(changed)).To(ConsistOf(
			HaveSuffix("/seldonconfigs/default dry-run"), HaveSuffix("/namespaces/"+f.namespace+"/deployments/seldon-envoy dry-run")))
	})

	It("shows the child objects to an account that may read custom resources only", func() {
		reader := user("reader", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list"}})
		planned := seldonAs(reader, "plan", "-n", f.namespace)
		Expect(planned.code).To(BeZero(), planned.stderr)
		Expect(planned.stdout).To(MatchRegexp(`\? Deployment/seldon-envoy +unknown`))
		Expect(planned.stdout).NotTo(MatchRegexp(`\? Server/mlserver`), "Servers can be read")
		Expect(planned.stderr).To(ContainSubstring("not permitted: list deployments.apps in namespace " + f.namespace))
		Expect(planned.stderr).To(ContainSubstring("the configurations in namespace " + operatorNamespace))
	})

	It("computes the same changes for an account that may not make dry-runs", func() {
		reader := user("viewer", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}})
		config := f.applied["SeldonConfig/default"].DeepCopy()
		eachItem(config.Object, []string{"spec", "components"}, func(component map[string]any) {
			eachItem(component, []string{"podSpec", "containers"}, func(container map[string]any) { container["image"] = "changed:1" })
		})
		file := f.write(0, config)
		changes := func(kubeconfig string) (report plannedReport, changed map[string][]string, stderr string) {
			done := seldonAs(kubeconfig, "plan", "-n", f.namespace, "-f", file, "-o", "json")
			Expect(done.code).To(BeZero(), done.stderr)
			Expect(json.Unmarshal([]byte(done.stdout), &report)).To(Succeed())
			changed = map[string][]string{}
			for key, step := range report.steps() {
				changed[key] = append(changed[key], step.Verb, step.Impact)
				for _, change := range step.Changes {
					changed[key] = append(changed[key], change.Path, fmt.Sprint(change.Old), fmt.Sprint(change.New))
				}
			}
			return report, changed, done.stderr
		}
		_, tried, _ := changes(kubeconfig)
		report, computed, stderr := changes(reader)
		Expect(computed).To(Equal(tried))
		Expect(len(computed)).To(BeNumerically(">", 5))
		Expect(report.Summary.Unverified).To(Equal(len(computed)))
		Expect(stderr).To(ContainSubstring("unverified"))
		Expect(stderr).To(ContainSubstring("not permitted: a dry-run of SeldonConfig " + operatorNamespace + "/default"))
	})

	It("rejects proposed objects that the API server rejects", func() {
		runtime := f.applied["SeldonRuntime/seldon"].DeepCopy()
		Expect(unstructured.SetNestedField(runtime.Object, "high", "spec", "config", "tracingConfig", "ratio")).To(Succeed())
		rejected := seldon("plan", "-n", f.namespace, "-f", f.write(0, runtime))
		Expect(rejected.code).To(Equal(2))
		Expect(rejected.stderr).To(ContainSubstring("spec.config.tracingConfig.ratio"))
	})

	It("lists exactly the writes that follow random edits", func() {
		rounds := 10
		if !testing.Short() {
			rounds = 50
		}
		for round := range rounds {
			edits := f.edit()
			By(fmt.Sprintf("round %d: %s", round, strings.Join(edits.names, ", ")))
			f.compare(edits)
		}
	})
})

// read parses an object.
func (f *fixture) read(text, namespace string) *unstructured.Unstructured {
	GinkgoHelper()
	object := &unstructured.Unstructured{}
	parse(text, &object.Object)
	object.SetNamespace(namespace)
	return object
}

// apply applies an object by server-side apply.
func (f *fixture) apply(object *unstructured.Unstructured) {
	GinkgoHelper()
	sent := object.DeepCopy()
	Expect(environment.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(sent), client.FieldOwner(editor), client.ForceOwnership)).To(Succeed())
	f.applied[object.GetKind()+"/"+object.GetName()] = object
}

// write writes an object into a file.
func (f *fixture) write(number int, object *unstructured.Unstructured) string {
	GinkgoHelper()
	text, err := yaml.Marshal(object.Object)
	Expect(err).NotTo(HaveOccurred())
	return f.writeText(fmt.Sprintf("%d.yaml", number), string(text))
}

// writeText writes a file.
func (f *fixture) writeText(name, text string) string {
	GinkgoHelper()
	file := filepath.Join(f.folder, name)
	Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
	return file
}

// settle waits until the operator has done its work: every owner is ready at its generation,
// no pod changes, and the operator has written nothing for a while.
func (f *fixture) settle() {
	GinkgoHelper()
	const quiet = 1500 * time.Millisecond
	_, offset := writesAfter(0)
	last := time.Now()
	Eventually(func(g Gomega) {
		writes, end := writesAfter(offset)
		if len(writes) > 0 {
			offset, last = end, time.Now()
		}
		runtimes, servers := &v1alpha1.SeldonRuntimeList{}, &v1alpha1.ServerList{}
		g.Expect(environment.Client.List(ctx, runtimes, client.InNamespace(f.namespace))).To(Succeed())
		g.Expect(environment.Client.List(ctx, servers, client.InNamespace(f.namespace))).To(Succeed())
		for _, each := range runtimes.Items {
			g.Expect(each.Status.ObservedGeneration).To(Equal(each.Generation))
			g.Expect(meta.IsStatusConditionTrue(each.Status.Conditions, "Ready")).To(BeTrue(), "%+v", each.Status.Conditions)
		}
		for _, each := range servers.Items {
			g.Expect(each.Status.ObservedGeneration).To(Equal(each.Generation))
			g.Expect(meta.IsStatusConditionTrue(each.Status.Conditions, "Ready")).To(BeTrue(), "%s: %+v", each.Name, each.Status.Conditions)
		}
		pods := &corev1.PodList{}
		g.Expect(environment.Client.List(ctx, pods, client.InNamespace(f.namespace))).To(Succeed())
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp != nil {
				last = time.Now()
			}
		}
		g.Expect(time.Since(last)).To(BeNumerically(">", quiet))
	}).Should(Succeed())
}

// children returns the objects in the namespace that the operator may have written, by kind
// and name.
func (f *fixture) children() map[string]*unstructured.Unstructured {
	GinkgoHelper()
	found := map[string]*unstructured.Unstructured{}
	for _, kind := range childKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		Expect(environment.Client.List(ctx, list, client.InNamespace(f.namespace))).To(Succeed())
		for i := range list.Items {
			found[f.namespace+" "+kind.Kind+"/"+list.Items[i].GetName()] = &list.Items[i]
		}
	}
	return found
}

// compare plans edits, applies them, and compares the plan with what the operator writes.
func (f *fixture) compare(edits edits) {
	GinkgoHelper()
	files := []string{"plan", "-n", f.namespace, "-o", "json"}
	for i, object := range edits.objects {
		files = append(files, "-f", f.write(i, object))
	}
	printed := seldon(files...)
	Expect(printed.code).To(BeZero(), printed.stderr)
	report := plannedReport{}
	Expect(json.Unmarshal([]byte(printed.stdout), &report)).To(Succeed())
	expectSchema(printed.stdout)
	planned := report.steps()

	before, pods := f.children(), f.pods()
	_, offset := writesAfter(0)
	watched := f.watchReady()
	for _, object := range edits.objects {
		f.apply(object)
	}
	expected := map[string]string{}
	for key, step := range planned {
		expected[key] = step.Verb
	}
	// Nothing shows that the operator has seen a configuration: on a slow machine it may begin
	// later than it is quiet.
	var after map[string]*unstructured.Unstructured
	var happened map[string]string
	for range 5 {
		f.settle()
		after = f.children()
		if happened = f.happened(offset, before, after); maps.Equal(happened, expected) {
			break
		}
	}
	podsAfter, unready := f.pods(), watched()
	details := func() string {
		text := fmt.Sprintf("%v\n%s", edits.names, printed.stderr)
		for _, key := range slices.Sorted(maps.Keys(planned)) {
			text += fmt.Sprintf("%s: %+v\n", key, planned[key])
		}
		return text
	}
	Expect(expected).To(Equal(happened), details)

	for key, step := range planned {
		if step.Verb != "patch" && step.Verb != "recreate" {
			continue
		}
		var paths []string
		for _, change := range step.Changes {
			paths = append(paths, change.Path)
		}
		for _, path := range difference(before[key], after[key]) {
			Expect(slices.ContainsFunc(paths, func(planned string) bool { return covers(planned, path) })).To(BeTrue(), "%s: %s changed, and the plan has %v\n%s", key, path, paths, details())
		}
		for _, path := range paths {
			Expect(slices.ContainsFunc(difference(before[key], after[key]), func(changed string) bool { return covers(path, changed) || covers(changed, path) })).To(BeTrue(), "%s: %s did not change\n%s", key, path, details())
		}
	}
	f.checkImpacts(planned, before, pods, podsAfter, unready, details)
}

// happened returns the verbs of the operator's writes since an offset of the audit log, by
// object, of those that changed more than status and bookkeeping.
func (f *fixture) happened(offset int64, before, after map[string]*unstructured.Unstructured) map[string]string {
	GinkgoHelper()
	written, _ := writesAfter(offset)
	verbs := map[string]string{}
	for _, write := range written {
		kind, isChild := childKinds[write.ObjectRef.Resource]
		if !isChild || write.ObjectRef.Namespace != f.namespace || write.ObjectRef.Subresource != "" {
			continue
		}
		key := f.namespace + " " + kind.Kind + "/" + write.ObjectRef.Name
		was, is := before[key], after[key]
		switch {
		case was == nil && is != nil:
			verbs[key] = "create"
		case was != nil && is == nil:
			verbs[key] = "delete"
		case was == nil && is == nil:
		case was.GetUID() != is.GetUID():
			verbs[key] = "recreate"
		case len(difference(was, is)) > 0:
			verbs[key] = "patch"
		}
	}
	return verbs
}

// watchReady watches the workloads, and returns a function that ends that and returns those
// of which no pod was ready at some time.
func (f *fixture) watchReady() func() map[string]bool {
	GinkgoHelper()
	watching, stop := context.WithCancel(ctx)
	unready := map[string]bool{}
	group := sync.WaitGroup{}
	var mu sync.Mutex
	for _, resource := range []string{"deployments", "statefulsets"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(childKinds[resource])
		events, err := watcher.Watch(watching, list, client.InNamespace(f.namespace))
		Expect(err).NotTo(HaveOccurred())
		group.Go(func() {
			for event := range events.ResultChan() {
				object, is := event.Object.(*unstructured.Unstructured)
				if !is {
					continue
				}
				ready, _, _ := unstructured.NestedInt64(object.Object, "status", "readyReplicas")
				if ready == 0 {
					mu.Lock()
					unready[f.namespace+" "+object.GetKind()+"/"+object.GetName()] = true
					mu.Unlock()
				}
			}
		})
	}
	return func() map[string]bool {
		stop()
		group.Wait()
		return unready
	}
}

// expectSchema validates the JSON form of a plan against its published schema.
func expectSchema(text string) {
	GinkgoHelper()
	content, err := os.ReadFile(root("docs/reference/plan.schema.json"))
	Expect(err).NotTo(HaveOccurred())
	schema := &spec.Schema{}
	Expect(json.Unmarshal(content, schema)).To(Succeed())
	var decoded any
	Expect(json.Unmarshal([]byte(text), &decoded)).To(Succeed())
	Expect(validate.NewSchemaValidator(schema, nil, "", strfmt.Default).Validate(decoded).AsError()).To(Succeed())
}

// podsOf returns the UIDs of pods by workload: those whose names start with its name.
func podsOf(pods map[string]string, workload *unstructured.Unstructured) map[string]bool {
	found := map[string]bool{}
	for name, uid := range pods {
		rest, of := strings.CutPrefix(name, workload.GetName()+"-")
		wanted := 0
		if workload.GetKind() == "Deployment" {
			wanted = 1
		}
		if of && strings.Count(rest, "-") == wanted {
			found[uid] = true
		}
	}
	return found
}

// checkImpacts compares the impact of each step with what happened to pods.
func (f *fixture) checkImpacts(planned map[string]plannedStep, before map[string]*unstructured.Unstructured, pods, podsAfter map[string]string, unready map[string]bool, details func() string) {
	GinkgoHelper()
	for key, workload := range before {
		if kind := workload.GetKind(); kind != "Deployment" && kind != "StatefulSet" {
			continue
		}
		was, is := podsOf(pods, workload), podsOf(podsAfter, workload)
		kept := 0
		for uid := range was {
			if is[uid] {
				kept++
			}
		}
		impact := "NoOp"
		if step, found := planned[key]; found {
			impact = step.Impact
			if step.Restarts && step.Verb != "delete" {
				Expect(kept).To(BeZero(), "%s: restarts, and pods were kept\n%s", key, details())
				if impact == "Recreate" {
					continue
				}
			}
		}
		switch impact {
		case "NoOp", "Metadata", "Live", "Connection", "Recreate":
			Expect(kept).To(Equal(min(len(was), len(is))), "%s: %s, and pods were replaced\n%s", key, impact, details())
		case "Restart":
			Expect(kept).To(BeZero(), "%s: %s, and pods were kept\n%s", key, impact, details())
		case "Outage":
			Expect(kept).To(BeZero(), "%s: %s, and pods were kept\n%s", key, impact, details())
			Expect(unready).To(HaveKey(key), "%s was always ready\n%s", key, details())
		}
	}
}

// pods returns the UIDs of pods by name.
func (f *fixture) pods() map[string]string {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(environment.Client.List(ctx, pods, client.InNamespace(f.namespace))).To(Succeed())
	found := map[string]string{}
	for _, pod := range pods.Items {
		found[pod.Name] = string(pod.UID)
	}
	return found
}

// items are the identities of list items in paths, which have different forms.
var items = regexp.MustCompile(`\[[^\]]*=[^\]]*\]|\[[0-9]+\]`)

// covers reports whether a path is another one or above it.
func covers(above, path string) bool {
	above, path = items.ReplaceAllString(above, "[]"), items.ReplaceAllString(path, "[]")
	return path == above || strings.HasPrefix(path, above+".") || strings.HasPrefix(path, above+"[")
}

// difference returns the paths of leaves that differ, without status and what the API
// server and the controllers of Kubernetes maintain. Items of lists are identified by name,
// else by all of their scalars.
func difference(before, after *unstructured.Unstructured) []string {
	was, is := map[string]any{}, map[string]any{}
	leaves(visible(before), "", was)
	leaves(visible(after), "", is)
	var paths []string
	for path := range maps.Keys(was) {
		if value, found := is[path]; !found || !equality.Semantic.DeepEqual(value, was[path]) {
			paths = append(paths, path)
		}
	}
	for path := range is {
		if _, found := was[path]; !found {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func visible(object *unstructured.Unstructured) map[string]any {
	content := object.DeepCopy().Object
	delete(content, "status")
	metadata := content["metadata"].(map[string]any)
	for _, key := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "finalizers"} {
		delete(metadata, key)
	}
	unstructured.RemoveNestedField(content, "metadata", "annotations", "deployment.kubernetes.io/revision")
	return content
}

func leaves(value any, path string, into map[string]any) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			if strings.ContainsAny(key, "./") {
				leaves(below, path+"["+key+"]", into)
				continue
			}
			leaves(below, strings.TrimPrefix(path+"."+key, "."), into)
		}
	case []any:
		for i, item := range value {
			leaves(item, path+"["+identity(item, i)+"]", into)
		}
	default:
		into[path] = value
	}
}

// identity returns what identifies an item of a list.
func identity(item any, index int) string {
	fields, isMap := item.(map[string]any)
	if !isMap {
		return fmt.Sprint(index)
	}
	for _, key := range []string{"name", "mountPath", "port", "containerPort", "type"} {
		if value, found := fields[key]; found {
			return key + "=" + fmt.Sprint(value)
		}
	}
	if metadata, found := fields["metadata"].(map[string]any); found {
		return "metadata.name=" + fmt.Sprint(metadata["name"])
	}
	return fmt.Sprint(index)
}
