package compose

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/compose-spec/compose-go/v2/types"
)

// Each of these is a reason for which programs do not start, or are not reachable, if their
// pods are copied without a change.
func TestDifferencesOfTheProgramsOutsideKubernetes(t *testing.T) {
	result, text := translate(t, rendered(t, false, nil, smallRuntime), Options{})
	project := load(t, text, nil)
	value := func(service, variable string) string {
		if v := project.Services[service].Environment[variable]; v != nil {
			return *v
		}
		return "(not set)"
	}
	argument := func(service, argument string) bool {
		return slices.Contains(project.Services[service].Command, argument)
	}
	mount := func(service, target string) string {
		for _, config := range project.Services[service].Configs {
			if config.Target == target {
				return project.Configs[config.Source].Content
			}
		}
		return ""
	}
	for name, holds := range map[string]bool{
		"the scheduler has a scaling file": argument("seldon-scheduler-0.scheduler", "--scaling-config-path=/mnt/scaling/scaling.yaml") &&
			strings.Contains(mount("seldon-scheduler-0.scheduler", "/mnt/scaling/scaling.yaml"), "servers:"),
		"the scheduler schedules models after 30 seconds": argument("seldon-scheduler-0.scheduler", "--scheduler-ready-timeout-seconds=30"),
		"the dataflow engine has a health port":           value("seldon-dataflow-engine-0.dataflow-engine", "SELDON_HEALTH_SERVER_PORT") == "8000",
		"the dataflow engine has a namespace":             value("seldon-dataflow-engine-0.dataflow-engine", "SELDON_POD_NAMESPACE") == namespace,
		"agents have a readiness port":                    value("mlserver-1.agent", "SELDON_READINESS_PORT") == "9008",
		"an agent has the identity of its replica":        value("mlserver-0.agent", "POD_NAME") == "mlserver-0" && value("mlserver-1.agent", "POD_NAME") == "mlserver-1",
		"agents have the memory of the server in bytes":   value("mlserver-0.agent", "MEMORY_REQUEST") == "1073741824",
		"agents have remotes in their configuration":      strings.Contains(mount("mlserver-0.agent", "/mnt/config/agent.yaml"), `"type":"google cloud storage"`) && !strings.Contains(text, "config_secrets"),
		"gateways connect to the port of Envoy":           argument("seldon-modelgateway-0.modelgateway", "--envoy-port=9000") && argument("seldon-pipelinegateway-0.pipelinegateway", "--envoy-port=9000"),
		"agents connect to the port of Envoy":             value("mlserver-0.agent", "SELDON_ENVOY_PORT") == "9000",
		"the broker has no ZooKeeper":                     value("kafka", "KAFKA_PROCESS_ROLES") == "broker,controller" && !strings.Contains(strings.ToLower(text), "zookeeper"),
		"the broker has the name that components know": slices.Contains(project.Services["kafka"].Networks["default"].Aliases, "seldon-kafka-bootstrap.seldon-mesh") &&
			value("seldon-dataflow-engine-0.dataflow-engine", "SELDON_KAFKA_BOOTSTRAP_SERVERS") == "seldon-kafka-bootstrap.seldon-mesh:9092",
		"the broker accepts large messages":             value("kafka", "KAFKA_MESSAGE_MAX_BYTES") == "1000000000",
		"components start after the broker":             project.Services["seldon-modelgateway-0.modelgateway"].DependsOn["kafka"].Condition == types.ServiceConditionHealthy,
		"no replicas are set, since each has its name":  project.Services["mlserver-0.agent"].Scale == nil && project.Services["mlserver-0.agent"].Deploy.Replicas == nil,
		"replicas have volumes of their own":            mountsUnder(project.Services["mlserver-0.agent"], "/mnt/agent")[0] != mountsUnder(project.Services["mlserver-1.agent"], "/mnt/agent")[0],
		"containers of a replica share a volume":        mountsUnder(project.Services["mlserver-0.agent"], "/mnt/agent")[0] == mountsUnder(project.Services["mlserver-0.rclone"], "/mnt/agent")[0],
		"volumes are writable for the group":            project.Services["mlserver-0.agent"].DependsOn[permissionsService].Condition == types.ServiceConditionCompletedSuccessfully,
		"the owner of a network does nothing but sleep": slices.Equal(project.Services["mlserver-0"].Command, []string{"sleep", "infinity"}),
	} {
		if !holds {
			t.Errorf("not true: %s", name)
		}
	}
	if len(result.Notes) > 0 {
		t.Errorf("the user has to provide %q", result.Notes)
	}
}

// No check needs a program that images of Seldon Core do not have.
func TestHealthChecksNeedNoProgramsOfImages(t *testing.T) {
	_, text := translate(t, rendered(t, false, nil, smallRuntime), Options{})
	project := load(t, text, nil)
	for name, service := range project.Services {
		isPod := service.NetworkMode == "" && len(service.Command) > 0 && service.Command[0] == "sleep"
		switch check := service.HealthCheck; {
		case check != nil && !isPod && name != "kafka":
			t.Errorf("%s: its own image runs %q", name, check.Test)
		case isPod && check == nil && name != "hodometer-0":
			t.Errorf("%s: there is no check", name)
		case isPod && check != nil && strings.Contains(strings.Join(check.Test, " "), "curl"):
			t.Errorf("%s: %q", name, check.Test)
		}
	}
	for name, want := range map[string]string{
		"seldon-scheduler-0": "http://127.0.0.1:9999/ready", "seldon-envoy-0": "http://127.0.0.1:9003/ready", "seldon-dataflow-engine-0": "http://127.0.0.1:8000/ready",
		"mlserver-0": "nc -z -w 1 127.0.0.1 5572 && wget -q -O /dev/null -T 1 'http://127.0.0.1:9008/ready' && wget -q -O /dev/null -T 1 'http://127.0.0.1:9000/v2/health/live'",
	} {
		if check := project.Services[name].HealthCheck; check == nil || !strings.Contains(check.Test[1], want) {
			t.Errorf("%s: %v", name, check)
		}
	}
}

// Agents of Deployments take the number of their replica from their name, too.
func TestServersThatAreDeployments(t *testing.T) {
	_, text := translate(t, rendered(t, true, nil, smallRuntime), Options{})
	project := load(t, text, nil)
	for _, name := range []string{"mlserver-0", "mlserver-1"} {
		environment := project.Services[name+".agent"].Environment
		for variable, want := range map[string]string{
			"POD_NAME": name, "POD_IP": name, "SELDON_USE_DEPLOYMENTS_FOR_SERVERS": "false", "SELDON_READINESS_PORT": "9008",
		} {
			if got := environment[variable]; got == nil || *got != want {
				t.Errorf("%s: %s is %v, want %q", name, variable, got, want)
			}
		}
		if check := project.Services[name].HealthCheck; check == nil || !strings.Contains(check.Test[1], ":9008/ready") {
			t.Errorf("%s: %v", name, check)
		}
	}
}

// A configuration without what a program needs outside Kubernetes is completed.
func TestMissingValuesAreAdded(t *testing.T) {
	objects := rendered(t, false, nil, smallRuntime)
	for _, object := range objects {
		containers, found, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		if !found {
			continue
		}
		container := containers[0].(map[string]any)
		switch object.GetName() {
		case "seldon-scheduler":
			container["args"] = []any{"--db-path=/mnt/scheduler/db"}
		case "seldon-dataflow-engine":
			container["env"] = []any{}
		default:
			continue
		}
		if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
	}
	_, text := translate(t, objects, Options{})
	project := load(t, text, nil)
	scheduler := project.Services["seldon-scheduler-0.scheduler"]
	if want := []string{"--db-path=/mnt/scheduler/db", "--scheduler-ready-timeout-seconds=30", "--scaling-config-path=/mnt/scaling/scaling.yaml"}; !slices.Equal(scheduler.Command, want) {
		t.Errorf("arguments are %q", scheduler.Command)
	}
	if len(mountsUnder(scheduler, "/mnt/scaling")) != 1 {
		t.Error("the scaling file is not mounted")
	}
	if port := project.Services["seldon-dataflow-engine-0.dataflow-engine"].Environment["SELDON_HEALTH_SERVER_PORT"]; port == nil || *port != "8000" {
		t.Errorf("the health port is %v", port)
	}
}

// ConfigMaps in a folder are mounted as folders, so that programs detect changes.
func TestConfigDir(t *testing.T) {
	result, text := translate(t, rendered(t, false, nil, smallRuntime), Options{ConfigDir: "config"})
	project := load(t, text, nil)
	if len(project.Configs) > 0 {
		t.Errorf("contents are in the file: %v", project.Configs)
	}
	for target, service := range map[string]string{"/mnt/config": "mlserver-0.agent", "/mnt/scaling": "seldon-scheduler-0.scheduler"} {
		at := slices.IndexFunc(project.Services[service].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target })
		if at < 0 || project.Services[service].Volumes[at].Type != "bind" || !strings.HasPrefix(project.Services[service].Volumes[at].Source, "/project/config/configmaps/seldon-") {
			t.Errorf("%s: %s is not a folder of the host: %v", service, target, project.Services[service].Volumes)
		}
	}
	if result.Files["configmaps/seldon-scaling/scaling.yaml"] == "" || result.Files["configmaps/seldon-agent/agent.yaml"] == "" {
		t.Errorf("files are %v", result.Files)
	}
}

// A change of a configuration that programs do not read again creates their containers again.
func TestConfigHash(t *testing.T) {
	hashes := func(config, dir string) map[string]string {
		runtime := strings.Replace(smallRuntime, "spec: {", "spec: {config: {"+config+"}, ", 1)
		result, _ := translate(t, rendered(t, false, nil, runtime), Options{ConfigDir: dir})
		labels := map[string]string{}
		for name, service := range result.Project.Services {
			for _, hash := range service.Labels {
				labels[name] = hash
			}
		}
		return labels
	}
	kafka, scaling := "kafkaConfig: {topicPrefix: other}", "scalingConfig: {servers: {enabled: false}}"
	for _, dir := range []string{"", "config"} {
		before, afterKafka, afterScaling := hashes("", dir), hashes(kafka, dir), hashes(scaling, dir)
		for _, name := range []string{"seldon-scheduler-0.scheduler", "seldon-modelgateway-0.modelgateway"} {
			if before[name] == "" || afterKafka[name] == before[name] {
				t.Errorf("folder %q: the Kafka configuration of %s changed, and its hash did not", dir, name)
			}
		}
		if name := "seldon-scheduler-0.scheduler"; (afterScaling[name] == before[name]) != (dir != "") {
			t.Errorf("folder %q: the scaling configuration changed: hash %q instead of %q", dir, afterScaling[name], before[name])
		}
		if name := "seldon-modelgateway-0.modelgateway"; afterScaling[name] != before[name] {
			t.Errorf("folder %q: %s has another hash after a change of what it does not read", dir, name)
		}
	}
}

const tlsRuntime = `
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata: {name: seldon}
spec:
  seldonConfig: default
  servers: [{name: mlserver, serverConfig: mlserver}]
  overrides:
  - name: seldon-scheduler
    podSpec: {containers: [{name: scheduler, env: [{name: CONTROL_PLANE_SECURITY_PROTOCOL, value: SSL}]}]}
  - name: seldon-modelgateway
    podSpec: {containers: [{name: modelgateway, env: [{name: KAFKA_SECURITY_PROTOCOL, value: SSL}, {name: KAFKA_BROKER_TLS_SECRET_NAME, value: broker}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: seldon-controlplane-client}
stringData: {tls.key: hidden, tls.crt: c, ca.crt: c}
`

// Certificates are files that the programs read without Kubernetes, and values of Secrets
// are not in the file.
func TestSecrets(t *testing.T) {
	result, text := translate(t, rendered(t, false, nil, tlsRuntime), Options{ConfigDir: "config"})
	if strings.Contains(text, "hidden") {
		t.Error("the value of a Secret is in the file")
	}
	if _, err := Translate(nil, Options{}); err != nil {
		t.Error(err)
	}
	environment := map[string]string{}
	for _, note := range result.Notes {
		if _, after, is := strings.Cut(note, "set the variable "); is {
			environment[strings.Fields(after)[0]] = "$a value"
		}
	}
	project := load(t, text, environment)
	scheduler := project.Services["seldon-scheduler-0.scheduler"]
	if name := scheduler.Environment["CONTROL_PLANE_SERVER_TLS_SECRET_NAME"]; name == nil || *name != "" {
		t.Errorf("the scheduler has the name of a Secret: %v", name)
	}
	for service, targets := range map[string][]string{
		"seldon-scheduler-0.scheduler":       {"/tmp/certs/cps/tls.key", "/tmp/certs/cps/tls.crt", "/tmp/certs/cps/ca.crt", "/tmp/certs/cpc/ca.crt"},
		"seldon-modelgateway-0.modelgateway": {"/tmp/certs/kafka/broker/ca.crt"},
		"sync":                               {"/tmp/certs/seldon-controlplane-client/tls.key"},
	} {
		for _, target := range targets {
			if !slices.ContainsFunc(project.Services[service].Secrets, func(s types.ServiceSecretConfig) bool { return s.Target == target }) {
				t.Errorf("%s: %s is not mounted", service, target)
			}
		}
	}
	// Envoy's variable is from a Secret that is optional, and that is among the objects.
	if value := project.Services["seldon-envoy-0.envoy"].Environment["ENVOY_XDS_CLIENT_TLS_KEY"]; value == nil || *value != "$a value" {
		t.Errorf("Envoy's key is %v", value)
	}
	if _, found := project.Services["kafka"]; found {
		t.Error("there is a broker, and components connect with TLS")
	}
	if result.Files["secrets/seldon-controlplane-client/tls.key"] != "hidden" {
		t.Errorf("files are %v", result.Files)
	}
	if !slices.Contains(result.Notes, "write the key tls.key of Secret seldon-controlplane-server to ./config/secrets/seldon-controlplane-server/tls.key") {
		t.Errorf("notes are %q", result.Notes)
	}
	if !slices.Contains(project.Services["sync"].Command, "--scheduler=seldon-scheduler:9044") {
		t.Errorf("sync connects to %q", project.Services["sync"].Command)
	}
}
