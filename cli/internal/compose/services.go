package compose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Names of the services that are not those of pods, whose names end with a number.
const (
	kafkaService = "kafka"
	syncService  = "sync"
)

// broker is the Kafka broker of the file.
type broker struct {
	hosts []string
	port  string
	// maxBytes is the size of the largest message; empty for the default.
	maxBytes string
}

// kafkaConfig is what the broker takes from the configuration of its clients.
type kafkaConfig struct {
	Servers  string            `json:"bootstrap.servers"`
	Producer map[string]string `json:"producer"`
}

// usesKafka reports whether a workload connects to Kafka.
func (w *workload) usesKafka() bool {
	return slices.Contains([]string{v1alpha1.ComponentModelGateway, v1alpha1.ComponentPipelineGateway, v1alpha1.ComponentDataflowEngine}, w.name)
}

// findBroker determines the addresses that components have for Kafka. A broker of the file
// has these names, so that no configuration changes. It is left out if components connect
// with TLS, which needs a broker that has certificates.
func (t *translation) findBroker() {
	if t.WithoutKafka || !slices.ContainsFunc(t.workloads, (*workload).usesKafka) {
		return
	}
	config := kafkaConfig{}
	if configMap := t.configMaps["seldon-kafka"]; configMap != nil {
		if err := json.Unmarshal([]byte(configMap.Data["kafka.json"]), &config); err != nil {
			t.warn("ConfigMap", "its key kafka.json cannot be read, so the broker has the default address", configMap.Name)
		}
	}
	servers := strings.Split(config.Servers, ",")
	for _, p := range t.pods {
		for i := range p.spec.Containers {
			c := &p.spec.Containers[i]
			if protocol := cmp.Or(valueOf(c, "KAFKA_SECURITY_PROTOCOL"), valueOf(c, "SELDON_KAFKA_SECURITY_PROTOCOL")); protocol != "" && protocol != "PLAINTEXT" {
				t.note("provide Kafka at %s: components connect with %s, and a broker of this file would have no certificates", config.Servers, protocol)
				return
			}
			servers = append(servers, strings.Split(valueOf(c, "SELDON_KAFKA_BOOTSTRAP_SERVERS"), ",")...)
		}
	}
	found := &broker{maxBytes: config.Producer["message.max.bytes"]}
	for _, server := range servers {
		host, port, err := net.SplitHostPort(strings.TrimSpace(server))
		if err != nil {
			continue
		}
		if found.port == "" {
			found.port = port
		}
		if port != found.port {
			t.warn("bootstrap.servers", "the broker listens on port "+found.port+" only", server)
			continue
		}
		if host != kafkaService && !slices.Contains(found.hosts, host) {
			found.hosts = append(found.hosts, host)
		}
	}
	if found.port == "" {
		found.port = "9092"
	}
	slices.Sort(found.hosts)
	t.broker = found
}

// addKafka adds a broker, and makes components start after it.
func (t *translation) addKafka() {
	if t.broker == nil {
		return
	}
	const data, controller = "/var/lib/kafka/data", "9094"
	environment := map[string]string{
		"KAFKA_NODE_ID": "1", "KAFKA_PROCESS_ROLES": "broker,controller",
		"KAFKA_LISTENERS":                                "PLAINTEXT://:" + t.broker.port + ",CONTROLLER://:" + controller,
		"KAFKA_ADVERTISED_LISTENERS":                     "PLAINTEXT://" + kafkaService + ":" + t.broker.port,
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:" + controller,
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_LOG_DIRS":                                 data,
	}
	if t.broker.maxBytes != "" {
		environment["KAFKA_MESSAGE_MAX_BYTES"] = t.broker.maxBytes
		environment["KAFKA_SOCKET_REQUEST_MAX_BYTES"] = t.broker.maxBytes
	}
	t.result.Project.Volumes["kafka-data"] = &Volume{}
	t.result.Project.Services[kafkaService] = &Service{
		Image: t.KafkaImage, Hostname: kafkaService, Environment: environment,
		Networks: map[string]*Network{"default": {Aliases: t.broker.hosts}},
		Expose:   []string{t.broker.port},
		Volumes:  []Mount{{Type: "volume", Source: "kafka-data", Target: data}},
		Healthcheck: &Healthcheck{
			Test:     []string{"CMD", "/opt/kafka/bin/kafka-broker-api-versions.sh", "--bootstrap-server", "localhost:" + t.broker.port},
			Interval: "30s", Timeout: "20s", Retries: 5, StartPeriod: "1m", StartInterval: "5s",
		},
		StopGracePeriod: "30s", Restart: "unless-stopped",
	}
	for i := range t.pods {
		p := &t.pods[i]
		if !p.usesKafka() {
			continue
		}
		for _, c := range p.spec.Containers {
			if service := t.result.Project.Services[p.name+"."+c.Name]; service != nil {
				service.DependsOn[kafkaService] = Dependency{Condition: healthy}
			}
		}
	}
}

// addSync adds a service that loads the Models, Pipelines and Experiments of a folder.
func (t *translation) addSync() {
	at := slices.IndexFunc(t.pods, func(p pod) bool { return p.workload.name == v1alpha1.ComponentScheduler })
	if t.ModelsDir == "" || at < 0 {
		return
	}
	scheduler := &t.pods[at]
	const target = "/models"
	service := &Service{
		Image:      t.SyncImage,
		Entrypoint: []string{"/kubectl-seldon"},
		Command: []string{
			"sync", "--filename=" + target, fmt.Sprintf("--scheduler=%s:%d", v1alpha1.SchedulerService, schedulerPort), "--namespace=" + t.namespace, "--watch",
		},
		Volumes:         []Mount{{Type: "bind", Source: t.folder(t.ModelsDir), Target: target, ReadOnly: true, Bind: &BindMount{CreateHostPath: true}}},
		DependsOn:       map[string]Dependency{scheduler.name: {Condition: started}},
		StopGracePeriod: "5s", Restart: "unless-stopped",
	}
	for i := range scheduler.spec.Containers {
		if c := &scheduler.spec.Containers[i]; valueOf(c, "CONTROL_PLANE_SECURITY_PROTOCOL") == "SSL" {
			t.setSyncTLS(service, scheduler, i)
		}
	}
	t.result.Project.Services[syncService] = service
}

// schedulerTLSPort is the port of the scheduler that clients with TLS use.
const schedulerTLSPort = 9044

// setSyncTLS gives sync the certificates of a client of the scheduler.
func (t *translation) setSyncTLS(service *Service, scheduler *pod, container int) {
	c := &scheduler.spec.Containers[container]
	service.Environment = map[string]string{"CONTROL_PLANE_SECURITY_PROTOCOL": "SSL"}
	service.Command[2] = fmt.Sprintf("--scheduler=%s:%d", v1alpha1.SchedulerService, schedulerTLSPort)
	for prefix, files := range map[string][]string{"CONTROL_PLANE_CLIENT_TLS": {"KEY", "CRT", "CA"}, "CONTROL_PLANE_SERVER_TLS": {"CA"}} {
		secret := valueOf(c, prefix+"_SECRET_NAME")
		if secret == "" {
			continue
		}
		for _, file := range files {
			suffix := "_" + file + "_LOCATION"
			target := "/tmp/certs/" + secret + "/" + tlsFiles[suffix]
			service.Environment[prefix+suffix] = target
			t.secretFile(service, secret, tlsFiles[suffix], target)
		}
	}
	slices.SortFunc(service.Secrets, func(a, b FileRef) int { return strings.Compare(a.Target, b.Target) })
}

// folder returns the path of a folder in the form that Compose takes for a path.
func (t *translation) folder(name string) string {
	other := translation{Options: Options{ConfigDir: name}}
	return other.inDir()
}
