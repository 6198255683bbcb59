package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const pausedKey = "mlops.seldon.io/paused"

func TestAnnotate(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	run := func(args string) result {
		return runCommand(t.Context(), t, server, &buffer{}, strings.Fields(args)...)
	}

	g.Expect(run("pause seldon -n team-a")).To(Equal(result{"SeldonRuntime team-a/seldon: set annotation mlops.seldon.io/paused=true\n", "Paused 1 object.\n", 0}))
	g.Expect(server.get("SeldonRuntime", "team-a", "seldon").GetAnnotations()).To(Equal(map[string]string{pausedKey: "true"}))
	g.Expect(run("pause -A")).To(Equal(result{
		"SeldonRuntime team-a/seldon: is paused already\nSeldonRuntime team-b/seldon: set annotation mlops.seldon.io/paused=true\n", "Paused 1 object.\n", 0,
	}))
	g.Expect(run("resume -A")).To(Equal(result{
		"SeldonRuntime team-a/seldon: removed annotation mlops.seldon.io/paused\nSeldonRuntime team-b/seldon: removed annotation mlops.seldon.io/paused\n", "Resumed 2 objects.\n", 0,
	}))
	g.Expect(server.get("SeldonRuntime", "team-b", "seldon").GetAnnotations()).To(BeEmpty())
	g.Expect(run("reconcile server/mlserver -n team-a").code).To(Equal(0))
	value := server.get("Server", "team-a", "mlserver").GetAnnotations()["mlops.seldon.io/reconcile-requested-at"]
	requested, err := time.Parse(time.RFC3339Nano, value)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(requested).To(BeTemporally("~", time.Now(), time.Minute))

	for args, want := range map[string]result{
		"pause":                            {"", "error: name an object as TYPE/NAME, or select objects with --selector or --all-namespaces\n", 2},
		"pause model/iris -n team-a":       {"", "error: model/iris has no child objects: use a SeldonRuntime or a Server\n", 2},
		"pause deployment -A":              {"", "error: deployment has no child objects: use a SeldonRuntime or a Server\n", 2},
		"pause widget -A":                  {"", "error: widget has no child objects: use a SeldonRuntime or a Server\n", 2},
		"pause server/x -A":                {"", "error: a name cannot be combined with --selector or --all-namespaces\n", 2},
		"pause -l a=b=c":                   {"", "error: --selector=a=b=c: found '=', expected: ',' or 'end of string'\n", 2},
		"pause seldon --timeout=0s":        {"", "error: --timeout=0s: must be greater than 0\n", 2},
		"pause seldon -n team-z":           {"", "error: get SeldonRuntime team-z/seldon: rejected by the test\n", 1},
		"restart server -n team-z -l x=y":  {"", "error: no Server is selected\n", 1},
		"restart server/triton -n team-a":  {"", "error: the selected objects have no Deployments and StatefulSets\n", 1},
		"reconcile seldon extra more args": {"", "error: accepts at most 2 arg(s), received 4\n", 2},
	} {
		g.Expect(run(args)).To(Equal(want), args)
	}
	server.status = func(verb, _, _ string) int {
		if verb == "patch" {
			return http.StatusForbidden
		}
		return 0
	}
	g.Expect(run("pause seldon -n team-a")).To(Equal(result{"", "error: annotate SeldonRuntime team-a/seldon: rejected by the test\n", 1}))
}

// TestWait waits for the status that the operator would write.
func TestWait(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	var out *buffer
	done := make(chan result)
	start := func(args string) {
		to := &buffer{}
		out = to
		go func() { done <- runCommand(t.Context(), t, server, to, strings.Fields(args)...) }()
	}
	withConditions := func(conditions ...any) *unstructured.Unstructured {
		seldon := server.get("SeldonRuntime", "team-a", "seldon")
		g.Expect(unstructured.SetNestedSlice(seldon.Object, conditions, "status", "conditions")).To(Succeed())
		return seldon
	}
	report := func(conditions ...any) {
		server.events <- metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Object: withConditions(conditions...)}}
	}
	condition := func(conditionType, status, reason, message string) map[string]any {
		return map[string]any{"type": conditionType, "status": status, "reason": reason, "message": message, "observedGeneration": int64(1)}
	}
	server.objects[0] = withConditions(condition("Ready", "False", "Progressing", ""))

	start("reconcile seldon -n team-a --wait")
	g.Eventually(func() string { return out.String() }).Should(ContainSubstring("SeldonRuntime team-a/seldon  False  Progressing\n"))
	report(condition("Ready", "True", "Ready", ""))
	finished := <-done
	g.Expect(finished.code).To(Equal(0), finished.err)
	g.Expect(finished.out).To(MatchRegexp(`\d\d:\d\d:\d\d  SeldonRuntime team-a/seldon  True  -\n$`))
	g.Expect(finished.err).To(Equal("Requested a reconciliation of 1 object.\n"))

	start("reconcile seldon -n team-a --wait")
	g.Eventually(func() string { return out.String() }).Should(ContainSubstring("SeldonRuntime team-a/seldon  False  Progressing\n"))
	invalid := condition("Ready", "False", "InvalidPatch", "spec.patches[0]: no")
	report(invalid)
	g.Eventually(func() string { return out.String() }).Should(ContainSubstring("SeldonRuntime team-a/seldon  False  InvalidPatch: spec.patches[0]: no"))
	g.Consistently(done, "200ms").ShouldNot(Receive(), "the object is not stalled")
	report(invalid, condition("Stalled", "True", "InvalidPatch", "spec.patches[0]: no"))
	finished = <-done
	g.Expect(finished.code).To(Equal(1))
	g.Expect(finished.err).To(Equal("error: SeldonRuntime team-a/seldon: InvalidPatch: spec.patches[0]: no\n"))

	got := runCommand(t.Context(), t, server, &buffer{}, "reconcile", "seldon", "-n", "team-a", "--wait", "--timeout=300ms")
	g.Expect(got.code).To(Equal(124))
	g.Expect(got.err).To(Equal("error: timed out after 300ms waiting until the objects are ready: SeldonRuntime team-a/seldon: Progressing\n"))
}

func TestRestart(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	got := runCommand(t.Context(), t, server, &buffer{}, "restart", "server/mlserver", "-n", "team-a")
	g.Expect(got.code).To(Equal(0), got.err)
	g.Expect(got.out).To(MatchRegexp(`^StatefulSet team-a/mlserver: set annotation kubectl\.kubernetes\.io/restartedAt=\S+Z of the pod template\n$`))
	g.Expect(got.err).To(Equal("Requested a restart of the pods of 1 workload.\n"))
	value, found, _ := unstructured.NestedString(server.get("StatefulSet", "team-a", "mlserver").Object, "spec", "template", "metadata", "annotations", restartedAtAnnotation)
	g.Expect(found).To(BeTrue())
	g.Expect(value).NotTo(BeEmpty())
	g.Expect(server.sent()).NotTo(ContainElement(HavePrefix("patch team-a/servers")))
}
