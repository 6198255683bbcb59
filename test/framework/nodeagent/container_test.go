package nodeagent

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestEnvironment(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p"}}
	fieldRef := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	got, err := environment(pod, &corev1.Container{Env: []corev1.EnvVar{
		{Name: "A", Value: "a"},
		{Name: "NAMESPACE", ValueFrom: fieldRef("metadata.namespace")},
		{Name: "B", Value: "$(A)-$(NAMESPACE)-$(LATER)-$$(A)"},
		{Name: "LATER", Value: "l"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "a", "NAMESPACE": "team", "B": "a-team-$(LATER)-$(A)", "LATER": "l"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for _, from := range []*corev1.EnvVarSource{fieldRef("status.hostIP"), {SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}} {
		if _, err := environment(pod, &corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: from}}}); err == nil {
			t.Errorf("%v: got no error", from)
		}
	}
}

// A bind address gets a free port of the same host, and the readiness probe uses it.
func TestRemapPorts(t *testing.T) {
	arguments, listening, err := remapPorts([]string{"run", "--probe-bind-address=:8081", "--metrics-bind-address=127.0.0.1:4000", "--leader-elect", "--other-bind-address=0"})
	if err != nil {
		t.Fatal(err)
	}
	for port, host := range map[int]string{8081: "", 4000: "127.0.0.1"} {
		if got, _, err := net.SplitHostPort(listening[port]); err != nil || got != host {
			t.Errorf("port %d: listens at %q (%v), want host %q", port, listening[port], err, host)
		}
	}
	want := []string{"run", "--probe-bind-address=" + listening[8081], "--metrics-bind-address=" + listening[4000], "--leader-elect", "--other-bind-address=0"}
	if diff := cmp.Diff(want, arguments); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	container := &corev1.Container{
		Ports: []corev1.ContainerPort{{Name: "probes", ContainerPort: 8081}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromString("probes")},
		}},
	}
	if got, err := readinessURL(container, listening); err != nil || got != "http://127.0.0.1"+listening[8081]+"/readyz" {
		t.Errorf("got %q (%v)", got, err)
	}
	container.ReadinessProbe.HTTPGet.Port = intstr.FromInt32(80)
	if _, err := readinessURL(container, listening); err == nil || !strings.Contains(err.Error(), "port 80") {
		t.Errorf("got error %v, want one about port 80", err)
	}
}
