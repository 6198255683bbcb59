package templates_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// serverOf returns a Server `one` and its ServerConfig from the YAML of their specs.
func serverOf(t testing.TB, config, server string) templates.Server {
	t.Helper()
	made := templates.Server{
		Server: &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "one"}},
		Config: &v1alpha1.ServerConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "seldon-system", Name: "config"}},
	}
	if err := yaml.UnmarshalStrict([]byte(config), &made.Config.Spec); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(server), &made.Server.Spec); err != nil {
		t.Fatal(err)
	}
	return made
}

// A Server above the limit keeps its live replicas. The number of its Services is bounded,
// for any values in the Server and in its StatefulSet.
func TestServerReplicasAreLimited(t *testing.T) {
	for name, test := range map[string]struct {
		spec           string
		live, observed int64 // live is -1 if there is no workload
		limit          int64
		deployment     bool

		replicas, services int64
		message            string
	}{
		"at the limit":                {spec: `replicas: 500`, live: 3, observed: 3, replicas: 500, services: 500},
		"scaled down":                 {spec: `replicas: 1`, live: 3, observed: 3, replicas: 1, services: 3},
		"above it, new":               {spec: `replicas: 501`, live: -1, replicas: 500, services: 500, message: "spec.replicas: 501 replicas are requested, and the operator's --max-replicas-per-server allows 500; StatefulSet one is applied with 500 replicas; lower spec.replicas or raise the flag"},
		"above it, with a workload":   {spec: `replicas: 100000`, live: 3, observed: 2, replicas: 3, services: 3, message: "is applied with 3 replicas"},
		"above it, scaled to zero":    {spec: `replicas: 100000`, live: 0, replicas: 0, services: 0, message: "is applied with 0 replicas"},
		"above it, new, stored":       {spec: `replicas: 100000`, live: -1, replicas: 500, services: 500, message: "100000 replicas are requested"},
		"above it, by the minimum":    {spec: `minReplicas: 4294967295`, live: -1, replicas: 500, services: 500, message: "lower spec.minReplicas"},
		"above another limit":         {spec: `replicas: 3`, live: -1, limit: 2, replicas: 2, services: 2, message: "--max-replicas-per-server allows 2"},
		"below another limit":         {spec: `replicas: 600`, live: -1, limit: 600, replicas: 600, services: 600},
		"running above it":            {spec: `replicas: 900`, live: 800, observed: 800, replicas: 800, services: 800, message: "is applied with 800 replicas"},
		"lowered, and still above it": {spec: `replicas: 700`, live: 800, observed: 800, replicas: 700, services: 800, message: "is applied with 700 replicas"},
		"a StatefulSet set to more":   {spec: `replicas: 4000000000`, live: 2000000000, observed: 3, replicas: 2000000000, services: 500, message: "is applied"},
		"a status that is absurd":     {spec: `replicas: 1`, live: 1, observed: 2000000000, replicas: 1, services: 10000},
		"a Deployment":                {spec: `replicas: 100000`, live: 7, deployment: true, replicas: 7, services: 0, message: "Deployment one is applied with 7 replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serverOf(t, `podSpec: {containers: [{name: a, image: b}]}`, test.spec)
			server.MaxReplicas, server.UseDeployment, server.ObservedReplicas = test.limit, test.deployment, test.observed
			if test.live >= 0 {
				server.LiveReplicas = &test.live
			}
			input, warnings, err := server.Input()
			if err != nil {
				t.Fatal(err)
			}
			overlays, err := input.Layers[1].Overlays()
			if err != nil {
				t.Fatal(err)
			}
			replicas, _, err := unstructured.NestedInt64(overlays[0].Content, "spec", "replicas")
			if err != nil || replicas != test.replicas {
				t.Errorf("got %d replicas (%v), want %d", replicas, err, test.replicas)
			}
			if got := int64(len(input.Templates)) - 1; got != test.services {
				t.Errorf("got %d Services, want %d", got, test.services)
			}
			if !strings.Contains(warnings.ReplicasLimited, test.message) || (warnings.ReplicasLimited == "") != (test.message == "") {
				t.Errorf("got message %q, want %q", warnings.ReplicasLimited, test.message)
			}
		})
	}
}

// Pods of a StatefulSet with a long name may be rejected for their label: an object that
// was stored before the schema validated the length is rendered unchanged, with a warning.
func TestLongNamesAreReported(t *testing.T) {
	claims := `volumeClaimTemplates: [{name: a, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}], `
	for name, test := range map[string]struct {
		name             string
		deployment, want bool
	}{
		"as long as it may be": {name: strings.Repeat("x", 52)},
		"longer":               {name: strings.Repeat("x", 53), want: true},
		"a longer Deployment":  {name: strings.Repeat("x", 53), deployment: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := serverOf(t, `podSpec: {containers: [{name: a, image: b}]}`, ``)
			server.Server.Name, server.UseDeployment = test.name, test.deployment
			_, warnings, err := server.Input()
			if err != nil || (warnings.NameTooLong != "") != test.want {
				t.Errorf("Server: got %q, %v, want a message: %t", warnings.NameTooLong, err, test.want)
			}
			runtime := templates.Runtime{
				Runtime: &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "seldon"}},
				Config:  &v1alpha1.SeldonConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "seldon-system", Name: "default"}},
			}
			component := `podSpec: {containers: [{name: a, image: b}]}}]}`
			if !test.deployment {
				component = claims + component
			}
			if err := yaml.UnmarshalStrict([]byte(`{components: [{name: `+test.name+`, `+component), &runtime.Config.Spec); err != nil {
				t.Fatal(err)
			}
			_, components, err := runtime.Input()
			if err != nil || (len(components.NamesTooLong) == 1) != test.want {
				t.Errorf("component: got %q, %v, want a message: %t", components.NamesTooLong, err, test.want)
			}
		})
	}
}

// Capabilities have an effect, or a warning with their path. A value from elsewhere is not
// replaced by added ones.
func TestCapabilities(t *testing.T) {
	const (
		literal    = `{name: agent, image: a, env: [{name: SELDON_SERVER_CAPABILITIES, value: "sklearn"}]}`
		empty      = `{name: agent, image: a, env: [{name: SELDON_SERVER_CAPABILITIES}]}`
		configured = `{name: agent, image: a, env: [{name: SELDON_SERVER_CAPABILITIES, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}`
		other      = `{name: other, image: a, env: [{name: SELDON_SERVER_CAPABILITIES, value: "sklearn"}]}`
		fromValue  = "spec.extraCapabilities: container agent takes SELDON_SERVER_CAPABILITIES from valueFrom, to which nothing can be added; set spec.capabilities, or a value in ServerConfig config"
	)
	for name, test := range map[string]struct {
		containers, spec string
		value            string // of the variable in the agent; "from" if it comes from the ConfigMap
		ignored          string // a part of the only message
	}{
		"neither":                       {literal, ``, "sklearn", ""},
		"replaced":                      {literal, `capabilities: [a, b]`, "a,b", ""},
		"added":                         {literal, `extraCapabilities: [a, b]`, "sklearn,a,b", ""},
		"added to nothing":              {empty, `extraCapabilities: [a, b]`, "a,b", ""},
		"both":                          {literal, `{capabilities: [a], extraCapabilities: [b]}`, "a", "spec.extraCapabilities: has no effect"},
		"those of a ConfigMap replaced": {configured, `capabilities: [a]`, "a", ""},
		"added to those of a ConfigMap": {configured, `extraCapabilities: [a]`, "from", fromValue},
		"added to one of two":           {configured + "," + other, `extraCapabilities: [a]`, "from", fromValue},
		"the Server's own ConfigMap":    {literal, `{extraCapabilities: [a], podSpec: {containers: [` + configured + `]}}`, "from", fromValue},
		"added without a variable":      {`{name: agent, image: a}`, `extraCapabilities: [a]`, "", "spec.extraCapabilities: no container of ServerConfig config"},
		"replaced without a variable":   {`{name: agent, image: a}`, `capabilities: [a]`, "", "spec.capabilities: no container of ServerConfig config"},
	} {
		t.Run(name, func(t *testing.T) {
			input, warnings, err := serverOf(t, `podSpec: {containers: [`+test.containers+`]}`, test.spec).Input()
			if err != nil {
				t.Fatal(err)
			}
			if (len(warnings.FieldsIgnored) > 0) != (test.ignored != "") || len(warnings.FieldsIgnored) > 1 ||
				!strings.Contains(strings.Join(warnings.FieldsIgnored, ""), test.ignored) {
				t.Errorf("got warnings %q, want %q", warnings.FieldsIgnored, test.ignored)
			}
			env := agentOf(t, input)
			value := ""
			if len(env) > 0 {
				value = env[0].Value
				if env[0].ValueFrom != nil {
					value += "from"
				}
			}
			if value != test.value {
				t.Errorf("got %q, want %q", value, test.value)
			}
		})
	}
}

// agentOf renders the input and returns the environment of the container agent.
func agentOf(t *testing.T, input composition.Input) []corev1.EnvVar {
	t.Helper()
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		t.Fatal(err)
	}
	rendering, err := composition.Render(compiled, input, composition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range rendering.Objects {
		set := &appsv1.StatefulSet{}
		if child.Ref().Kind != "StatefulSet" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(child.Object.Object, set); err != nil {
			t.Fatal(err)
		}
		for _, container := range set.Spec.Template.Spec.Containers {
			if container.Name == "agent" {
				return container.Env
			}
		}
	}
	t.Fatal("no StatefulSet with a container agent was rendered")
	return nil
}
