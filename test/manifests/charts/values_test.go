package charts_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// effects is a list of values in testdata with their effects, to be set together.
type effects struct {
	Rows []effect `json:"rows,omitempty"`
	// WithoutEffect are keys that have no effect.
	WithoutEffect []string `json:"withoutEffect,omitempty"`
}

// effect is the effect of one value.
type effect struct {
	Key string `json:"key"`
	Set any    `json:"set"`
	// Is is the expected value. The default is Set.
	Is any `json:"is,omitempty"`
	// Contains expects the rendered text to contain the value.
	Contains bool `json:"contains,omitempty"`
	// At are the places of the value: an object or an alias, a space, and a path.
	At []string `json:"at,omitempty"`
	// Absent are places, or objects, that must not exist.
	Absent []string `json:"absent,omitempty"`
}

// aliases are short names of the containers and of the configuration of the setup
// chart.
var aliases = map[string]string{
	"config":            "SeldonConfig/default spec/config",
	"controller":        "Deployment/seldon-v2-controller-manager spec/template/spec/containers/manager",
	"remove-finalizers": "Job/seldon-v2-remove-finalizers spec/template/spec/containers/remove-finalizers",
	"check":             "Pod/seldon-v2-check spec/containers/check",
	"scheduler":         "SeldonConfig/default spec/components/seldon-scheduler/podSpec/containers/scheduler",
	"pipelinegateway":   "SeldonConfig/default spec/components/seldon-pipelinegateway/podSpec/containers/pipelinegateway",
	"modelgateway":      "SeldonConfig/default spec/components/seldon-modelgateway/podSpec/containers/modelgateway",
	"hodometer":         "SeldonConfig/default spec/components/hodometer/podSpec/containers/hodometer",
	"envoy":             "SeldonConfig/default spec/components/seldon-envoy/podSpec/containers/envoy",
	"dataflow":          "SeldonConfig/default spec/components/seldon-dataflow-engine/podSpec/containers/dataflow-engine",
	"mlserver/rclone":   "ServerConfig/mlserver spec/podSpec/containers/rclone",
	"mlserver/agent":    "ServerConfig/mlserver spec/podSpec/containers/agent",
	"mlserver/mlserver": "ServerConfig/mlserver spec/podSpec/containers/mlserver",
	"triton/rclone":     "ServerConfig/triton spec/podSpec/containers/rclone",
	"triton/agent":      "ServerConfig/triton spec/podSpec/containers/agent",
	"triton/triton":     "ServerConfig/triton spec/podSpec/containers/triton",
}

// place returns the value at a place. For an environment variable, that is its value.
func (o objects) place(text string) (any, bool) {
	name, path, _ := strings.Cut(text, " ")
	if alias, isAlias := aliases[name]; isAlias {
		name, path, _ = strings.Cut(alias+"/"+path, " ")
	}
	object := o[name]
	if object == nil || path == "" {
		return object, object != nil
	}
	value, found := at(object, path)
	if variable, isMap := value.(map[string]any); isMap && strings.Contains(path, "/env/") && variable["value"] != nil {
		value = variable["value"]
	}
	return value, found
}

func TestValuesHaveTheirEffect(t *testing.T) {
	for _, chart := range all {
		t.Run(chart, func(t *testing.T) {
			var lists []effects
			if err := yaml.UnmarshalStrict(read(t, filepath.Join("testdata", chart+".yaml")), &lists); err != nil {
				t.Fatal(err)
			}
			described := map[string]bool{}
			plain := render(t, chart, "seldon-mesh", nil)
			for _, list := range lists {
				with := values{}
				for _, row := range list.Rows {
					described[row.Key] = described[row.Key] || len(row.At)+len(row.Absent) > 0
					set(with, row.Key, row.Set)
				}
				for _, key := range list.WithoutEffect {
					described[key] = true
					set(with, key, other(leaves(defaults(t, chart))[key]))
				}
				rendered := render(t, chart, "seldon-mesh", with)
				for _, row := range list.Rows {
					row.check(t, plain, rendered)
				}
				if len(list.WithoutEffect) > 0 {
					if diff := cmp.Diff(plain, rendered); diff != "" {
						t.Errorf("%v: has an effect: %s", list.WithoutEffect, diff)
					}
				}
			}
			for key := range leaves(defaults(t, chart)) {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(described)), func(row string) bool {
					return described[row] && (key == row || strings.HasPrefix(key, row+"."))
				}) {
					t.Errorf("values.yaml has %s, but testdata/%s.yaml does not have its effect", key, chart)
				}
			}
		})
	}
}

// check checks that the value is at its places, and was not there by default.
func (e effect) check(t *testing.T, plain, rendered objects) {
	t.Helper()
	want := e.Is
	if want == nil {
		want = e.Set
	}
	for _, place := range e.At {
		got, found := rendered.place(place)
		if !found {
			t.Errorf("%s: %s does not exist", e.Key, place)
			continue
		}
		before, _ := plain.place(place)
		if e.Contains {
			if !strings.Contains(fmt.Sprint(got), fmt.Sprint(want)) {
				t.Errorf("%s: %s does not contain %v: %v", e.Key, place, want, got)
			}
			if strings.Contains(fmt.Sprint(before), fmt.Sprint(want)) {
				t.Errorf("%s: %s has %v by default", e.Key, place, want)
			}
			continue
		}
		// Numbers and booleans are in quotes in many places.
		if !cmp.Equal(got, want) && text(got) != text(want) {
			t.Errorf("%s: %s has %v, not %v", e.Key, place, got, want)
		}
		if cmp.Equal(before, got) {
			t.Errorf("%s: %s has %v by default", e.Key, place, got)
		}
	}
	for _, place := range e.Absent {
		if _, found := rendered.place(place); found {
			t.Errorf("%s: %s exists", e.Key, place)
		}
	}
}

// text returns a value in the format of an environment variable.
func text(value any) string {
	if number, isNumber := value.(float64); isNumber {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// set sets the value of a key with dots between its parts.
func set(in values, key string, value any) {
	first, rest, deeper := strings.Cut(key, ".")
	if !deeper {
		in[first] = value
		return
	}
	inner, isMap := in[first].(map[string]any)
	if !isMap {
		inner = values{}
		in[first] = inner
	}
	set(inner, rest, value)
}

// other returns a different value of the same type.
func other(value any) any {
	switch content := value.(type) {
	case bool:
		return !content
	case string:
		return content + "x"
	default:
		return 7
	}
}

// A mistyped key is rejected, with its path in the message.
func TestMistypedKeysAreRejected(t *testing.T) {
	for _, chart := range all {
		t.Run(chart, func(t *testing.T) {
			places, with := sections("", defaults(t, chart)), values{}
			for _, section := range places {
				set(with, strings.TrimPrefix(section+".mistyped", "."), 1)
			}
			_, err := template(t, chart, "seldon-mesh", with)
			for _, section := range places {
				want := fmt.Sprintf("at '%s': additional properties 'mistyped' not allowed", strings.ReplaceAll(section, ".", "/"))
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s.mistyped: want %q, got %v", section, want, err)
				}
			}
			if _, err := template(t, chart, "seldon-mesh", values{"global": values{"anything": 1}}); err != nil {
				t.Errorf("global is Helm's own and must be accepted: %v", err)
			}
		})
	}
}

// sections returns the keys of the maps with a fixed set of keys, each with a leading
// dot. Keys of other maps end in one of open.
func sections(at string, of values) []string {
	open := []string{"securityContext", "annotations", "labels", "podLabels", "nodeSelector", "affinity"}
	found := []string{at}
	for key, value := range of {
		if inner, isMap := value.(map[string]any); isMap && !slices.Contains(open, key) {
			found = append(found, sections(at+"."+key, inner)...)
		}
	}
	return found
}

// Invalid values are rejected, with a message that has the path or the fix.
func TestWrongValuesAreRejected(t *testing.T) {
	for _, test := range []struct {
		chart string
		with  string
		want  string
	}{
		{setup, `controller: {metrics: {serviceMonitor: {enabled: true}}}`, "serviceMonitor.enabled needs controller.metrics.enabled=true"},
		{setup, `controller: {metrics: {prometheusRule: {enabled: true}}}`, "prometheusRule.enabled needs controller.metrics.enabled=true"},
		{setup, `controller: {image: {repository: mirror/seldonv2-controller}}`, "controller.image.repository mirror/seldonv2-controller is the upstream operator's image"},
		{setup, `controller: {podLabels: {control-plane: x}}`, "at '/controller/podLabels/control-plane'"},
		{setup, `controller: {logLevel: loud}`, "at '/controller/logLevel'"},
		{setup, `controller: {resources: {memory: lots}}`, "at '/controller/resources/memory'"},
		{setup, `imagePullSecrets: [pull]`, "at '/imagePullSecrets/0'"},
		{setup, `scheduler: {image: {digest: latest}}`, "at '/scheduler/image/digest'"},
		{setup, `scheduler: {image: {tag: ""}}`, "at '/scheduler/image/tag'"},
		{setup, `services: {defaultServiceType: Ingress}`, "at '/services/defaultServiceType'"},
		{setup, `security: {controlplane: {protocol: TLS}}`, "at '/security/controlplane/protocol'"},
		{setup, `security: {envoy: {protocol: ssl}}`, "at '/security/envoy/protocol'"},
		{setup, `security: {kafka: {protocol: SASL}}`, "at '/security/kafka/protocol'"},
		{setup, `opentelemetry: {ratio: "1e+08"}`, "at '/opentelemetry/ratio'"},
		{setup, `modelgateway: {workers: "007"}`, "at '/modelgateway/workers'"},
		{dataPlane, `config: {tracingConfig: {ratio: 2}}`, "at '/config/tracingConfig/ratio'"},
		{servers, `triton: {replicas: -1}`, "at '/triton/replicas'"},
		// A null removes a default.
		{setup, `security: null`, "missing property 'security'"},
		{setup, `serverConfig: {agent: {image: {tag: null}}}`, "at '/serverConfig/agent/image': missing property 'tag'"},
		{setup, `controller: {metrics: null}`, "at '/controller': missing property 'metrics'"},
		{setup, `logging: {logLevel: null}`, "at '/logging': missing property 'logLevel'"},
		{setup, `envoy: {adminInterfacePort: null}`, "at '/envoy': missing property 'adminInterfacePort'"},
		{setup, `hodometer: {resources: {cpu: null}}`, "at '/hodometer/resources': missing property 'cpu'"},
		{setup, `serverConfig: {rclone: {resources: {limits: null}}}`, "missing property 'limits'"},
		{dataPlane, `seldonConfig: null`, "missing property 'seldonConfig'"},
		{dataPlane, `config: {kafkaConfig: null}`, "at '/config': missing property 'kafkaConfig'"},
		{servers, `mlserver: null`, "missing property 'mlserver'"},
		{dataPlane, `envoy: {replicas: many}`, "at '/envoy/replicas'"},
		{dataPlane, `deletionPolicy: Delete`, "at '/deletionPolicy'"},
		{servers, `mlserver: {statefulSetPersistentVolumeClaimRetentionPolicy: {whenScaled: Keep}}`, "whenScaled'"},
	} {
		with := values{}
		if err := yaml.UnmarshalStrict([]byte(test.with), &with); err != nil {
			t.Fatal(err)
		}
		if _, err := template(t, test.chart, "seldon-mesh", with); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s with %s: want %q, got %v", test.chart, test.with, test.want, err)
		}
	}
}

// An empty value must not be rendered as a null or an empty map: a GitOps tool would
// show it as a difference forever.
func TestNoEmptyFields(t *testing.T) {
	for _, chart := range all {
		for name, object := range render(t, chart, "seldon-mesh", nil) {
			// Empty fields of a CRD are defaulted by the API server.
			if object.GetKind() == "CustomResourceDefinition" {
				continue
			}
			for _, place := range empty("", object.Object) {
				// An issuer and a volume without settings.
				if !strings.HasSuffix(place, "/selfSigned") && !strings.HasSuffix(place, "/emptyDir") {
					t.Errorf("%s: %s: %s is empty", chart, name, place)
				}
			}
		}
	}
}

// empty returns the paths of nulls, empty maps and empty lists.
func empty(at string, value any) []string {
	var found []string
	switch content := value.(type) {
	case nil:
		found = append(found, at)
	case map[string]any:
		if len(content) == 0 {
			found = append(found, at)
		}
		for key, inner := range content {
			found = append(found, empty(at+"/"+key, inner)...)
		}
	case []any:
		if len(content) == 0 {
			found = append(found, at)
		}
		for i, inner := range content {
			found = append(found, empty(fmt.Sprintf("%s/%d", at, i), inner)...)
		}
	}
	return found
}
