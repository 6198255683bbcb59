// Package monitoring_test checks config/components/monitoring against a running
// operator: its rules and its dashboard use metrics that the operator serves, and its
// monitors select objects that the operator creates.
package monitoring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	root      = "../../.."
	component = root + "/config/components/monitoring"
	namespace = "team"
)

// manifests builds an overlay of config/default with the component.
func manifests(t *testing.T) []byte {
	t.Helper()
	g := NewWithT(t)
	overlay := t.TempDir()
	config, err := filepath.Abs(filepath.Join(root, "config"))
	g.Expect(err).NotTo(HaveOccurred())
	config, err = filepath.Rel(overlay, config)
	g.Expect(err).NotTo(HaveOccurred())
	content := fmt.Sprintf("resources: [%[1]s/default]\ncomponents: [%[1]s/components/monitoring]\n", config)
	g.Expect(os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(content), 0o600)).To(Succeed())
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	g.Expect(err).NotTo(HaveOccurred())
	text, err := built.AsYaml()
	g.Expect(err).NotTo(HaveOccurred())
	return text
}

// expression is the output of test/e2e/monitoring/rules for one PromQL expression.
type expression struct {
	Where string
	Text  string
	// Metrics maps each metric to the labels that it is selected and grouped by, and
	// each label to the patterns of its selected values.
	Metrics map[string]map[string][]string
}

// check runs test/e2e/monitoring/rules on manifests.
func check(t *testing.T, manifests []byte) (found []expression) {
	t.Helper()
	checker := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "monitoring"))
	checker.Stdin, checker.Stderr = bytes.NewReader(manifests), os.Stderr
	output, err := checker.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "see the output of bin/monitoring above; `make test` builds it if it is missing")
	NewWithT(t).Expect(json.Unmarshal(output, &found)).To(Succeed())
	return found
}

// values maps each metric to its labels, and each label to its values.
type values map[string]map[string][]string

// rare are values that an operator serves only after an error, by metric and label.
var rare = values{
	"seldon_operator_warning_conditions": {"type": {v1alpha1.ConditionImmutableFieldChanged, v1alpha1.ConditionRestartRequired, string(plan.OwnershipConflict), string(plan.RecreationFailed), string(plan.FieldManagerConflict)}},
	// Observed when the stream ends.
	"seldon_operator_scheduler_rpc_duration_seconds_bucket": {"method": {path.Base(pb.Scheduler_SubscribeModelStatus_FullMethodName)}},
}

func TestMonitoring(t *testing.T) {
	text := manifests(t)
	operator := startOperator(t)
	t.Run("expressions use served metrics", func(t *testing.T) { testExpressions(t, text, operator) })
	t.Run("monitors select existing objects", func(t *testing.T) { testMonitors(t, text, operator) })
}

// Rules and dashboard use only metrics, labels and values that the operator serves,
// and monitors have only fields that Prometheus' operator knows.
func testExpressions(t *testing.T, manifests []byte, operator operator) {
	g := NewWithT(t)
	expressions := check(t, manifests)
	alerts := slices.DeleteFunc(slices.Clone(expressions), func(e expression) bool { return !strings.HasPrefix(e.Where, "alert ") })
	g.Expect(len(alerts)).To(BeNumerically(">", 5))
	g.Expect(len(expressions)).To(BeNumerically(">", len(alerts)+10), "the dashboard")
	page, err := os.ReadFile(filepath.Join(root, "docs", "how-to", "monitoring.md"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func(g Gomega) {
		served := operator.scrape(t, g)
		var problems []string
		for _, each := range expressions {
			problems = append(problems, each.problems(served)...)
		}
		for metric := range served {
			if name := suffix.ReplaceAllString(metric, ""); strings.HasPrefix(name, "seldon_") && !bytes.Contains(page, []byte("`"+name+"`")) {
				problems = append(problems, "docs/how-to/monitoring.md does not explain "+metric)
			}
		}
		g.Expect(problems).To(BeEmpty())
	}).WithTimeout(time.Minute).WithPolling(500 * time.Millisecond).Should(Succeed())
}

// problems returns the metrics, labels and values of an expression that the operator
// does not serve.
func (e expression) problems(served values) []string {
	var found []string
	for metric, labels := range e.Metrics {
		if served[metric] == nil {
			found = append(found, e.Where+": no metric is named "+metric)
			continue
		}
		for label, patterns := range labels {
			known := slices.Concat(served[metric][label], rare[metric][label], added[label])
			if len(known) == 0 {
				found = append(found, e.Where+": "+metric+" has no label "+label)
				continue
			}
			for _, pattern := range patterns {
				if !slices.ContainsFunc(known, regexp.MustCompile("^(?:"+pattern+")$").MatchString) {
					found = append(found, fmt.Sprintf("%s: %s has no %s %s, but %v", e.Where, metric, label, pattern, slices.Compact(slices.Sorted(slices.Values(known)))))
				}
			}
		}
	}
	return found
}

// added are labels that Prometheus' operator adds to scraped series.
var added = map[string][]string{"namespace": {"seldon-system"}, "pod": {"seldon-v2-controller-manager-0"}, "job": {"seldon-v2-controller-manager-metrics"}}

// Unserved metrics, labels and values are found in every part of a rule or dashboard.
func TestProblems(t *testing.T) {
	const (
		rule = `{"apiVersion":"monitoring.coreos.com/v1","kind":"PrometheusRule","spec":{"groups":[{"name":"g","rules":[{"alert":"A","expr":%q}]}]}}`
		file = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"grafana_dashboard":"1"}},"data":{"d.json":%q}}`

		panel      = `{"panels":[{"title":"P","targets":[{"expr":%q}]}]}`
		panelInRow = `{"panels":[{"title":"R","type":"row","panels":[{"title":"P","targets":[{"expr":%q}]}]}]}`
		variable   = `{"templating":{"list":[{"name":"v","type":"query","query":%q}]}}`
	)
	served := values{"seldon_operator_warning_conditions": {"kind": {"Server", "SeldonRuntime"}, "type": {"Paused"}}}
	// All are checked by one run.
	type row struct{ where, text, want string }
	var rows []row
	var documents []string
	for text, want := range map[string]string{
		`seldon_operator_warning_conditions{type="Paused"}`: "",
		`seldon_operator_warning_conditions{type=~"ImmutableFieldChanged|RestartRequired|OwnershipConflict|RecreationFailed|FieldManagerConflict"}`: "",
		`seldon_operator_warning_conditions{kind=~"Seldon.*", job=~".*manager.*", type!="Paused"}`:                                                  "",
		`nothing`: "no metric is named nothing",
		`seldon_operator_warning_conditions{type="Nothing"}`:           "seldon_operator_warning_conditions has no type Nothing, but",
		`seldon_operator_warning_conditions{type!="Nothing"}`:          "seldon_operator_warning_conditions has no type Nothing, but",
		`seldon_operator_warning_conditions{type=~"Paused|Nothing"}`:   "seldon_operator_warning_conditions has no type Nothing, but",
		`seldon_operator_warning_conditions{kind=~"Nothing.*"}`:        "seldon_operator_warning_conditions has no kind Nothing.*, but",
		`seldon_operator_warning_conditions{reason="Paused"}`:          "seldon_operator_warning_conditions has no label reason",
		`seldon_operator_warning_conditions{job="seldon"}`:             "seldon_operator_warning_conditions has no job seldon, but",
		`sum by (reason) (seldon_operator_warning_conditions{})`:       "seldon_operator_warning_conditions has no label reason",
		`rate(seldon_operator_warning_conditions{type="Nothing"}[5m])`: "seldon_operator_warning_conditions has no type Nothing, but",
	} {
		for where, manifest := range map[string]string{
			"alert A": fmt.Sprintf(rule, text), "panel P": fmt.Sprintf(file, fmt.Sprintf(panel, text)),
			"panel P in a row": fmt.Sprintf(file, fmt.Sprintf(panelInRow, text)), "variable v": fmt.Sprintf(file, fmt.Sprintf(variable, "label_values("+text+", kind)")),
		} {
			rows, documents = append(rows, row{where, text, want}), append(documents, manifest)
		}
	}
	expressions := check(t, []byte(strings.Join(documents, "\n---\n")))
	NewWithT(t).Expect(expressions).To(HaveLen(len(rows)))
	for i, row := range rows {
		t.Run(row.where+" "+row.text, func(t *testing.T) {
			g := NewWithT(t)
			problems := expressions[i].problems(served)
			if row.want == "" {
				g.Expect(problems).To(BeEmpty())
			} else {
				g.Expect(problems).To(ConsistOf(And(HavePrefix(strings.TrimSuffix(row.where, " in a row")+": "), ContainSubstring(row.want))))
			}
		})
	}
}

var (
	series = regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	suffix = regexp.MustCompile(`_(bucket|sum|count)$`) // of a histogram's series
	label  = regexp.MustCompile(`([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"`)
)

// operator is a running operator, on a control plane of its own.
type operator struct {
	// k8sClient acts as an administrator.
	k8sClient client.Client
	// address is the host:port of its metrics.
	address string
}

// scrape returns the metrics that the operator serves.
func (o operator) scrape(t *testing.T, g Gomega) values {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+o.address+"/metrics", http.NoBody)
	g.Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultClient.Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close() //nolint:errcheck // It was read.
	text, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	found := values{}
	for _, match := range series.FindAllStringSubmatch(string(text), -1) {
		if found[match[1]] == nil {
			found[match[1]] = map[string][]string{}
		}
		for _, pair := range label.FindAllStringSubmatch(match[2], -1) {
			found[match[1]][pair[1]] = append(found[match[1]][pair[1]], pair[2])
		}
	}
	return found
}

// startOperator starts a control plane, a scheduler and the operator, and does
// everything once that has a metric.
func startOperator(t *testing.T) operator {
	t.Helper()
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	cluster, err := controlplane.Start(ctx, controlplane.Options{CRDs: []string{filepath.Join(root, "config/crd/bases")}})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(cluster.Stop()).To(Succeed()) })
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	k8sClient, err := client.New(cluster.Config(), client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	create := func(object client.Object) { g.Expect(k8sClient.Create(ctx, object)).To(Succeed()) }
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

	folder := t.TempDir()
	// Before a free port is chosen: building takes long enough for it to be taken.
	programs := map[string]string{}
	for _, name := range []string{"fakescheduler", "manager"} {
		program, err := process.Program(ctx, folder, name)
		g.Expect(err).NotTo(HaveOccurred())
		programs[name] = program
	}
	start := func(name string, environment []string, arguments ...string) {
		running, err := process.New(ctx, filepath.Join(folder, name+".log"), programs[name], environment, arguments...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(running.Start()).To(Succeed())
		t.Cleanup(func() {
			running.Kill()
			if text, err := os.ReadFile(filepath.Join(folder, name+".log")); t.Failed() && err == nil {
				t.Logf("log of %s:\n%s", name, text[max(0, len(text)-1<<14):])
			}
		})
	}
	socket := "unix:" + filepath.Join(folder, "s")
	start("fakescheduler", nil, "--listen", socket)
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for file, config := range map[string]client.Object{"seldonconfigs/default": &v1alpha1.SeldonConfig{}, "serverconfigs/mlserver": &v1alpha1.ServerConfig{}} {
		text, err := os.ReadFile(filepath.Join(root, "config", file+".yaml"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(yaml.Unmarshal(text, config)).To(Succeed())
		config.SetNamespace(namespace)
		create(config)
	}
	address, err := process.FreeAddress("127.0.0.1")
	g.Expect(err).NotTo(HaveOccurred())
	start("manager", []string{"KUBECONFIG=" + cluster.KubeconfigPath(), "POD_NAMESPACE=" + namespace},
		"--namespace", namespace, "--leader-elect", "--metrics-bind-address", address, "--health-probe-bind-address=0", "--scheduler-address", socket)

	// The finalizer of a Model without a runtime is removed without an unload.
	orphan := &v1alpha1.Model{ObjectMeta: in("orphan"), Spec: v1alpha1.ModelSpec{
		InferenceArtifactSpec: v1alpha1.InferenceArtifactSpec{StorageURI: "gs://models/one"}}}
	orphan.Finalizers = []string{v1alpha1.ModelFinalizer}
	create(orphan)
	g.Expect(k8sClient.Delete(ctx, orphan)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(k8sClient.Get(ctx, client.ObjectKeyFromObject(orphan), orphan))
	}).
		WithTimeout(time.Minute).Should(BeTrue())
	create(&v1alpha1.Pipeline{ObjectMeta: in("p"), Spec: v1alpha1.PipelineSpec{Steps: []v1alpha1.PipelineStep{{Name: "m"}}}})
	create(&v1alpha1.Experiment{ObjectMeta: in("e"), Spec: v1alpha1.ExperimentSpec{Candidates: []v1alpha1.ExperimentCandidate{{Name: "m", Weight: 1}}}})
	create(&v1alpha1.Model{ObjectMeta: in("m"), Spec: v1alpha1.ModelSpec{
		InferenceArtifactSpec: v1alpha1.InferenceArtifactSpec{StorageURI: "gs://models/one"}}})
	create(&v1alpha1.Server{ObjectMeta: in("s"), Spec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}})

	// The drift of a runtime's child is reverted, and then the runtime is paused.
	seldonRuntime := &v1alpha1.SeldonRuntime{ObjectMeta: in("seldon"), Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"}}
	create(seldonRuntime)
	ready := func() string {
		g.Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(seldonRuntime), seldonRuntime)).To(Succeed())
		for _, condition := range seldonRuntime.Status.Conditions {
			if condition.Type == v1alpha1.ConditionReady {
				return string(condition.Status) + " " + condition.Reason + ": " + condition.Message
			}
		}
		return ""
	}
	g.Eventually(ready).WithTimeout(time.Minute).Should(HavePrefix("True"))
	agent := &corev1.ConfigMap{ObjectMeta: in("seldon-agent")}
	g.Expect(k8sClient.Patch(ctx, agent, client.RawPatch(types.MergePatchType, []byte(`{"data":{"agent.yaml":"x"}}`)))).To(Succeed())
	g.Eventually(func() string {
		g.Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(agent), agent)).To(Succeed())
		return agent.Data["agent.yaml"]
	}).WithTimeout(time.Minute).ShouldNot(Equal("x"))
	pause := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+v1alpha1.PausedAnnotation+`":"true"}}}`))
	g.Expect(k8sClient.Patch(ctx, seldonRuntime, pause)).To(Succeed())
	return operator{k8sClient: k8sClient, address: address}
}

// Each monitor selects at least one object with the port that it names.
func testMonitors(t *testing.T, manifests []byte, operator operator) {
	g := NewWithT(t)
	type target struct {
		labels map[string]string
		ports  []string
	}
	services, pods := &corev1.ServiceList{}, &corev1.PodList{}
	g.Expect(operator.k8sClient.List(t.Context(), services, client.InNamespace(namespace))).To(Succeed())
	g.Expect(operator.k8sClient.List(t.Context(), pods, client.InNamespace(namespace))).To(Succeed())
	var monitors []unstructured.Unstructured
	for document := range bytes.SplitSeq(manifests, []byte("\n---\n")) {
		object := unstructured.Unstructured{}
		g.Expect(yaml.Unmarshal(document, &object.Object)).To(Succeed())
		switch object.GetKind() {
		case "PodMonitor", "ServiceMonitor":
			monitors = append(monitors, object)
		case "Service":
			service := corev1.Service{}
			g.Expect(yaml.Unmarshal(document, &service)).To(Succeed())
			services.Items = append(services.Items, service)
		}
	}
	targets := map[string][]target{}
	for i := range services.Items {
		found := target{labels: services.Items[i].Labels}
		for _, port := range services.Items[i].Spec.Ports {
			found.ports = append(found.ports, port.Name)
		}
		targets["ServiceMonitor"] = append(targets["ServiceMonitor"], found)
	}
	for i := range pods.Items {
		found := target{labels: pods.Items[i].Labels}
		for _, container := range pods.Items[i].Spec.Containers {
			for _, port := range container.Ports {
				found.ports = append(found.ports, port.Name)
			}
		}
		targets["PodMonitor"] = append(targets["PodMonitor"], found)
	}
	g.Expect(services.Items).To(ContainElement(HaveField("Name", added["job"][0])), "the job has the name of the Service")
	g.Expect(monitors).To(HaveLen(5))
	for _, monitor := range monitors {
		selector, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
		g.Expect(err).NotTo(HaveOccurred())
		field := map[string]string{"PodMonitor": "podMetricsEndpoints", "ServiceMonitor": "endpoints"}[monitor.GetKind()]
		endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", field)
		g.Expect(err).NotTo(HaveOccurred())
		for _, endpoint := range endpoints {
			port, _, err := unstructured.NestedString(endpoint.(map[string]any), "port")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(slices.ContainsFunc(targets[monitor.GetKind()], func(of target) bool {
				return labels.SelectorFromSet(selector).Matches(labels.Set(of.labels)) && slices.Contains(of.ports, port)
			})).To(BeTrue(), "%s %s: no object with the labels %v has a port %s", monitor.GetKind(), monitor.GetName(), selector, port)
		}
	}
}
