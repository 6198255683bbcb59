package compose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// The programs behave differently outside Kubernetes, which they detect by the token of the
// ServiceAccount. The functions of this file change the values that therefore differ.

const (
	// readyTimeout is how many seconds the scheduler waits before it schedules models. With no
	// namespace it always waits that long.
	readyTimeout = 30
	// agentReadinessPort and dataflowHealthPort are the ports in the default configurations.
	// Without a value the agent takes a random port, and the dataflow engine does not start.
	agentReadinessPort = 9008
	dataflowHealthPort = 8000
)

// adjust changes the pods of the platform.
func (t *translation) adjust() {
	t.findBroker()
	for i := range t.pods {
		p := &t.pods[i]
		for j := range p.spec.Containers {
			c := &p.spec.Containers[j]
			switch {
			case p.isServer() && c.Name == "agent":
				t.adjustAgent(p, c)
			case p.workload.name == v1alpha1.ComponentScheduler && c.Name == "scheduler":
				t.adjustScheduler(p, c)
			case p.workload.name == v1alpha1.ComponentDataflowEngine:
				t.setDefault(p, c, "SELDON_HEALTH_SERVER_PORT", strconv.Itoa(dataflowHealthPort), "the dataflow engine does not start without it")
			}
			t.adjustReplication(p, c)
		}
	}
	t.adjustRemotes()
}

// adjustAgent sets what an agent needs to know its replica.
func (t *translation) adjustAgent(p *pod, c *corev1.Container) {
	t.setDefault(p, c, "SELDON_READINESS_PORT", strconv.Itoa(agentReadinessPort), "the agent chooses a random port without it")
	if readiness(c) == nil {
		port := intOf(valueOf(c, "SELDON_READINESS_PORT"), agentReadinessPort)
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready"}}, PeriodSeconds: 5, FailureThreshold: 1}
		c.ReadinessProbe.HTTPGet.Port.IntVal = int32(port) //nolint:gosec // a port
	}
	if valueOf(c, "POD_NAME") == "" {
		t.setDefault(p, c, "POD_NAME", p.name, "the agent reads the Server's name and the replica's number from it")
	}
	const deployments = "SELDON_USE_DEPLOYMENTS_FOR_SERVERS"
	if valueOf(c, deployments) == "true" {
		t.set(p, c, deployments, "false", "names of pods end with the replica's number")
	}
}

// adjustScheduler limits the time until the scheduler schedules models, and gives it the
// configuration of scaling that it does not start without.
func (t *translation) adjustScheduler(p *pod, c *corev1.Container) {
	const variable, flag = "SCHEDULER_READY_TIMEOUT_SECONDS", "--scheduler-ready-timeout-seconds"
	const reason = "without Kubernetes, the scheduler always waits that long before it loads models"
	if intOf(valueOf(c, variable), 0) > readyTimeout {
		t.set(p, c, variable, strconv.Itoa(readyTimeout), reason)
	}
	limit := fmt.Sprintf("%s=%d", flag, readyTimeout)
	switch value, at := argument(c, flag); {
	case at < 0:
		c.Args = append(c.Args, limit)
		t.change("%s/%s: argument %s is added: %s", p.workload, c.Name, limit, reason)
	case intOf(value, 0) > readyTimeout:
		c.Args[at] = limit
		t.change("%s/%s: argument %s=%s is %s: %s", p.workload, c.Name, flag, value, limit, reason)
	}
	if _, at := argument(c, "--scaling-config-path"); at < 0 {
		const folder = "/mnt/scaling"
		c.Args = append(c.Args, "--scaling-config-path="+folder+"/scaling.yaml")
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: scalingConfig, MountPath: folder})
		p.volumes[scalingConfig] = corev1.Volume{Name: scalingConfig, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: scalingConfig}},
		}}
		t.change("%s/%s: argument --scaling-config-path is added: the scheduler does not start without the file", p.workload, c.Name)
	}
}

// The ConfigMaps of a runtime that are changed.
const (
	scalingConfig = "seldon-scaling"
	agentConfig   = "seldon-agent"
)

// argument returns the value of a flag in the arguments of a container and its index, or -1.
func argument(c *corev1.Container, flag string) (value string, index int) {
	for i, each := range c.Args {
		if name, value, _ := strings.Cut(each, "="); name == flag {
			return value, i
		}
	}
	return "", -1
}

// valueOf returns the value of a variable of a container. One with a source has the value
// "from".
func valueOf(c *corev1.Container, name string) string {
	for _, variable := range slices.Backward(c.Env) {
		if variable.Name == name && variable.ValueFrom != nil {
			return "from"
		} else if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}

// set sets a variable of a container.
func (t *translation) set(p *pod, c *corev1.Container, name, value, reason string) {
	t.change("%s/%s: %s is %q instead of %q: %s", p.workload, c.Name, name, value, valueOf(c, name), reason)
	c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name })
	c.Env = append([]corev1.EnvVar{{Name: name, Value: value}}, c.Env...)
}

// setDefault sets a variable that has no value.
func (t *translation) setDefault(p *pod, c *corev1.Container, name, value, reason string) {
	if valueOf(c, name) == "" {
		t.set(p, c, name, value, reason)
	}
}

// intOf returns a number, or a default.
func intOf(text string, fallback int) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		return fallback
	}
	return number
}

// adjustReplication reduces the replicas of topics to the one broker of the file.
func (t *translation) adjustReplication(p *pod, c *corev1.Container) {
	if t.broker == nil {
		return
	}
	for _, name := range []string{"KAFKA_DEFAULT_REPLICATION_FACTOR", "SELDON_KAFKA_REPLICATION_FACTOR"} {
		if intOf(valueOf(c, name), 1) > 1 {
			t.set(p, c, name, "1", "the file has one broker")
		}
	}
}

// publicRemote is the rclone remote of the Secret that the default configuration names, for
// public buckets.
var publicRemote = map[string]any{"name": "gs", "type": "google cloud storage", "parameters": map[string]any{"anonymous": true}}

const publicRemoteSecret = "seldon-rclone-gs-public"

// adjustRemotes moves rclone remotes from Secrets into the configuration of agents, which
// read Secrets through the API of Kubernetes only.
func (t *translation) adjustRemotes() {
	const key = "agent.yaml"
	configMap := t.configMaps[agentConfig]
	if configMap == nil {
		return
	}
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte(configMap.Data[key]), &content); err != nil {
		t.warn("ConfigMap", "its key "+key+" is not YAML, so Secrets with rclone remotes are not found", agentConfig)
		return
	}
	rclone, _ := content["rclone"].(map[string]any)
	secrets, _ := rclone["config_secrets"].([]any)
	if len(secrets) == 0 {
		return
	}
	remotes, _ := rclone["config"].([]any)
	for _, each := range secrets {
		name := fmt.Sprint(each)
		secret := t.secrets[name]
		if secret == nil && name == publicRemoteSecret {
			text, _ := json.Marshal(publicRemote) //nolint:errchkjson // texts and booleans
			remotes = append(remotes, string(text))
			t.change("ConfigMap %s: Secret %s is replaced by the remote gs for public buckets: agents read no Secrets without Kubernetes", agentConfig, name)
			continue
		}
		if secret == nil {
			t.warn("rclone.config_secrets of ConfigMaps", fmt.Sprintf("Secret %s is not among the objects, so its remotes are missing; add it", name), agentConfig)
			continue
		}
		values := keysOf(secret)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			remotes = append(remotes, values[key])
		}
		t.change("ConfigMap %s: it has the remotes of Secret %s, so protect the output: agents read no Secrets without Kubernetes", agentConfig, name)
	}
	delete(rclone, "config_secrets")
	rclone["config"] = remotes
	text, err := yaml.Marshal(content)
	if err != nil {
		return
	}
	changed := configMap.DeepCopy()
	changed.Data[key] = string(text)
	t.configMaps[agentConfig] = changed
}

// protocols are the variables that choose the protocol of connections, by the prefix of the
// variables for their certificates.
var protocols = []string{"CONTROL_PLANE", "ENVOY", "KAFKA", "SELDON_KAFKA"}

// protocolOf returns the protocol of the connections that a variable is for.
func protocolOf(environment map[string]string, variable string) string {
	for _, prefix := range protocols {
		if strings.HasPrefix(variable, prefix+"_") {
			return environment[prefix+"_SECURITY_PROTOCOL"]
		}
	}
	return ""
}

// tlsSecrets matches variables that name a Secret with certificates.
var tlsSecrets = regexp.MustCompile(`^((?:CONTROL_PLANE|ENVOY|KAFKA)_.*_TLS)_SECRET_NAME$|^(SELDON_KAFKA_TLS_(?:CLIENT|BROKER))_SECRET$`)

// tlsFiles are the suffixes of variables with the paths of certificates, and the keys of
// Secrets.
var tlsFiles = map[string]string{
	"_KEY_LOCATION": "tls.key", "_CRT_LOCATION": "tls.crt", "_CA_LOCATION": "ca.crt",
	"_KEY_PATH": "tls.key", "_CERT_PATH": "tls.crt", "_CA_PATH": "ca.crt",
}

// setTLS mounts the certificates that a container reads from Secrets in Kubernetes.
func (t *translation) setTLS(service *Service, of string) {
	for _, name := range slices.Sorted(maps.Keys(service.Environment)) {
		secret := service.Environment[name]
		match := tlsSecrets.FindStringSubmatch(name)
		protocol := protocolOf(service.Environment, name)
		if secret == "" || protocol == "" || protocol == "PLAINTEXT" {
			continue
		}
		if strings.HasSuffix(name, "SASL_SECRET_NAME") || strings.HasSuffix(name, "SASL_SECRET") {
			t.warn("env "+name, "passwords are read from Secrets through the API of Kubernetes only", of)
		}
		if match == nil {
			continue
		}
		service.Environment[name] = ""
		t.change("%s: %s is empty instead of %q: certificates are files without Kubernetes", of, name, secret)
		prefix := cmp.Or(match[1], match[2])
		for _, suffix := range slices.Sorted(maps.Keys(tlsFiles)) {
			if target := service.Environment[prefix+suffix]; target != "" {
				t.secretFile(service, secret, tlsFiles[suffix], target)
			}
		}
	}
}

// rewritePorts changes ports of Services to those of the pods behind them: the network of a
// Compose file has no port mapping.
func (t *translation) rewritePorts(service *Service, of string) {
	for _, target := range t.services {
		if target.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		for i := range t.pods {
			p := &t.pods[i]
			if !selects(target, p.labels) {
				continue
			}
			for _, port := range target.Spec.Ports {
				if to := targetPort(p, port); to != port.Port {
					t.rewritePort(service, of, target.Name, port.Port, to)
				}
			}
			break
		}
	}
}

// rewritePort changes a port of a Service in HOST:PORT, and in flags and variables that have
// host and port: --x-host and --x-port, X_HOST and X_PORT.
func (t *translation) rewritePort(service *Service, of, host string, from, to int32) {
	oldPort, newPort := strconv.Itoa(int(from)), strconv.Itoa(int(to))
	isHost := func(text string) bool {
		return text == host || text == host+"."+t.namespace || strings.HasPrefix(text, host+"."+t.namespace+".svc")
	}
	address := regexp.MustCompile(`(^|[^a-zA-Z0-9.-])(` + regexp.QuoteMeta(host) + `(?:\.` + regexp.QuoteMeta(t.namespace) + `(?:\.svc(?:\.cluster\.local)?)?)?):` + oldPort + `($|[^0-9])`)
	changed := func(what, before, after string) {
		t.change("%s: %s is %q instead of %q: Compose does not map ports of Service %s", of, what, after, before, host)
	}
	flags := map[string]string{}
	for _, each := range service.Command {
		name, value, _ := strings.Cut(each, "=")
		flags[name] = value
	}
	for i, each := range service.Command {
		after := address.ReplaceAllString(each, "${1}${2}:"+newPort+"${3}")
		name, value, _ := strings.Cut(each, "=")
		if prefix, is := strings.CutSuffix(name, "-port"); is && value == oldPort && isHost(flags[prefix+"-host"]) {
			after = name + "=" + newPort
		}
		if after != each {
			service.Command[i] = after
			changed("an argument", each, after)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(service.Environment)) {
		value := service.Environment[name]
		after := address.ReplaceAllString(value, "${1}${2}:"+newPort+"${3}")
		if prefix, is := strings.CutSuffix(name, "_PORT"); is && value == oldPort && isHost(service.Environment[prefix+"_HOST"]) {
			after = newPort
		}
		if after != value {
			service.Environment[name] = after
			changed(name, value, after)
		}
	}
}
