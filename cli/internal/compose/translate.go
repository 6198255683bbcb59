package compose

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// Images that the services that are not containers of pods have by default.
const (
	// DefaultHelperImage has a shell, sleep, wget and nc.
	DefaultHelperImage = "docker.io/library/busybox:1.37.0"
	// DefaultKafkaImage is a broker that needs no ZooKeeper.
	DefaultKafkaImage = "docker.io/apache/kafka:3.9.1"
)

// Requirements are the oldest versions that support all that files use.
const Requirements = "Docker Engine 25 and Docker Compose 2.30"

// Options of [Translate].
type Options struct {
	// Name of the project; empty for the namespace of the objects.
	Name string
	// WithoutKafka leaves out the broker and the components that connect to it.
	WithoutKafka bool
	// ConfigDir is the folder that [Result.Files] are written to and containers mount, so
	// that programs detect changes; empty for content in the file.
	ConfigDir string
	// ModelsDir is the folder with the Models that the service sync loads; empty for no such
	// service.
	ModelsDir string
	// PublishAddress is the address of the host that ports are published on.
	PublishAddress string
	// HelperImage and KafkaImage are images; empty for the default. SyncImage has the program
	// kubectl-seldon.
	HelperImage, KafkaImage, SyncImage string
}

// Result of a translation.
type Result struct {
	Project *Project
	// Files are the contents of files by path below [Options.ConfigDir].
	Files map[string]string
	// Warnings are about fields and objects that have no counterpart. Changes are values that
	// differ from those of the objects. Notes say what the user has to provide.
	Warnings, Changes, Notes []string
}

// Translate translates objects of one namespace.
func Translate(objects []*unstructured.Unstructured, options Options) (*Result, error) {
	t := &translation{
		Options: options, configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{},
		result: &Result{Files: map[string]string{}, Project: &Project{
			Services: map[string]*Service{}, Volumes: map[string]*Volume{}, Configs: map[string]*Config{}, Secrets: map[string]*Secret{},
		}},
		warnings: map[warning][]string{}, permissions: map[string]string{},
	}
	t.HelperImage = cmp.Or(t.HelperImage, DefaultHelperImage)
	t.KafkaImage = cmp.Or(t.KafkaImage, DefaultKafkaImage)
	if err := t.read(objects); err != nil {
		return nil, err
	}
	t.makePods()
	t.adjust()
	var errs []error
	for i := range t.pods {
		errs = append(errs, t.addPod(&t.pods[i]))
	}
	t.addPermissions()
	t.addKafka()
	t.addSync()
	t.publish()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.finish()
	return t.result, nil
}

// translation is the state of a [Translate].
type translation struct {
	Options
	namespace  string
	workloads  []*workload
	services   []*corev1.Service
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	pods       []pod
	// broker is the address that components have for Kafka; nil for no broker in the file.
	broker *broker
	// permissions are the commands that set the permissions of volumes, by name.
	permissions map[string]string
	warnings    map[warning][]string
	result      *Result
}

// workload is a Deployment or StatefulSet.
type workload struct {
	kind, name string
	owner      string // the owner's kind in lower case
	replicas   int32
	template   corev1.PodTemplateSpec
	claims     []corev1.PersistentVolumeClaim
	// configHash is the hash of the configuration that pods read when they start.
	configHash string
}

func (w *workload) String() string { return w.kind + " " + w.name }

// pod is one replica of a workload.
type pod struct {
	*workload
	name    string
	index   int
	labels  map[string]string
	spec    *corev1.PodSpec
	volumes map[string]corev1.Volume
}

// read decodes objects and sorts them by kind.
func (t *translation) read(objects []*unstructured.Unstructured) error {
	var errs []error
	namespaces := map[string]bool{}
	for _, object := range objects {
		if namespace := object.GetNamespace(); namespace != "" {
			namespaces[namespace] = true
		}
		errs = append(errs, t.readObject(object))
	}
	if len(namespaces) > 1 {
		errs = append(errs, fmt.Errorf("the objects are in the namespaces %s, and a Compose file has one; render each by itself",
			strings.Join(slices.Sorted(maps.Keys(namespaces)), ", ")))
	}
	for namespace := range namespaces {
		t.namespace = namespace
	}
	t.result.Project.Name = projectName(cmp.Or(t.Name, t.namespace))
	return errors.Join(errs...)
}

// projectName returns a valid name of a project.
func projectName(name string) string {
	return strings.TrimLeft(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-_")
}

// silent are the kinds that need no counterpart.
var silent = []string{"Namespace", "PersistentVolumeClaim"}

// readObject decodes one object.
func (t *translation) readObject(object *unstructured.Unstructured) error {
	kind := object.GetKind()
	switch object.GetAPIVersion() + "/" + kind {
	case "apps/v1/Deployment":
		typed := &appsv1.Deployment{}
		if err := decode(object, typed); err != nil {
			return err
		}
		t.addWorkload(object, &workload{replicas: deref(typed.Spec.Replicas, 1), template: typed.Spec.Template})
	case "apps/v1/StatefulSet":
		typed := &appsv1.StatefulSet{}
		if err := decode(object, typed); err != nil {
			return err
		}
		t.addWorkload(object, &workload{replicas: deref(typed.Spec.Replicas, 1), template: typed.Spec.Template, claims: typed.Spec.VolumeClaimTemplates})
	case "v1/Service":
		typed := &corev1.Service{}
		t.services = append(t.services, typed)
		return decode(object, typed)
	case "v1/ConfigMap":
		typed := &corev1.ConfigMap{}
		t.configMaps[object.GetName()] = typed
		return decode(object, typed)
	case "v1/Secret":
		typed := &corev1.Secret{}
		t.secrets[object.GetName()] = typed
		return decode(object, typed)
	default:
		if !slices.Contains(silent, kind) {
			t.warn(kind, reasonOfKind(kind), object.GetName())
		}
	}
	return nil
}

// reasonOfKind says why a kind has no counterpart.
func reasonOfKind(kind string) string {
	switch kind {
	case "ServiceAccount", "Role", "RoleBinding":
		return "there is no Kubernetes API that containers could use"
	default:
		return "this kind has no counterpart in Compose"
	}
}

// decode decodes an object.
func decode(object *unstructured.Unstructured, into any) error {
	text, err := json.Marshal(object.Object)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// addWorkload adds a workload, unless it is left out.
func (t *translation) addWorkload(object *unstructured.Unstructured, w *workload) {
	options := inputs.EngineOptions
	w.configHash = cmp.Or(w.template.Annotations[options.ConfigHashAnnotation()], object.GetAnnotations()[options.HashAtCreationAnnotation()])
	w.kind, w.name, w.owner = object.GetKind(), object.GetName(), object.GetLabels()[options.OwnerLabel()]
	if t.WithoutKafka && w.isComponent() && w.name != v1alpha1.ComponentScheduler && w.name != v1alpha1.ComponentEnvoy {
		return
	}
	content, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "spec")
	t.checkPod(w, content)
	t.workloads = append(t.workloads, w)
}

// isComponent reports whether the workload is a component of a SeldonRuntime.
func (w *workload) isComponent() bool { return w.owner == strings.ToLower(v1alpha1.KindSeldonRuntime) }

// isServer reports whether the workload is that of a Server.
func (w *workload) isServer() bool { return w.owner == strings.ToLower(v1alpha1.KindServer) }

// makePods makes the pods of all workloads.
func (t *translation) makePods() {
	for _, w := range t.workloads {
		for i := range int(w.replicas) {
			p := pod{workload: w, index: i, name: w.name + "-" + strconv.Itoa(i), spec: w.template.Spec.DeepCopy(), volumes: map[string]corev1.Volume{}}
			p.labels = maps.Clone(w.template.Labels)
			if p.labels == nil {
				p.labels = map[string]string{}
			}
			p.labels[appsv1.StatefulSetPodNameLabel] = p.name
			p.labels[appsv1.PodIndexLabel] = strconv.Itoa(i)
			for _, volume := range p.spec.Volumes {
				p.volumes[volume.Name] = volume
			}
			for _, claim := range w.claims {
				p.volumes[claim.Name] = corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + p.name},
				}}
			}
			t.pods = append(t.pods, p)
		}
	}
}

// addPod adds the services of a pod.
func (t *translation) addPod(p *pod) error {
	owner := &Service{
		Image: t.HelperImage, Command: []string{"sleep", "infinity"}, Init: true, Hostname: p.name,
		Networks:        map[string]*Network{"default": {Aliases: t.aliases(p)}},
		Healthcheck:     t.healthcheck(p),
		StopGracePeriod: "2s", Restart: "unless-stopped",
	}
	t.setNetwork(owner, p)
	if err := t.addService(p.name, owner, p.String()); err != nil {
		return err
	}
	var errs []error
	after := map[string]Dependency{p.name: {Condition: started, Restart: true}}
	for i := range p.spec.InitContainers {
		c := &p.spec.InitContainers[i]
		service, err := t.container(p, c, after)
		condition := completed
		if deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			condition = started
		} else if service != nil {
			service.Restart = "no"
		}
		errs = append(errs, err, t.addService(p.name+"."+c.Name, service, p.String()))
		after = maps.Clone(after)
		after[p.name+"."+c.Name] = Dependency{Condition: condition}
	}
	for i := range p.spec.Containers {
		c := &p.spec.Containers[i]
		service, err := t.container(p, c, after)
		errs = append(errs, err, t.addService(p.name+"."+c.Name, service, p.String()))
	}
	return errors.Join(errs...)
}

// addService adds a service of an object.
func (t *translation) addService(name string, service *Service, of string) error {
	if service == nil {
		return nil
	}
	if _, found := t.result.Project.Services[name]; found {
		return fmt.Errorf("%s: the Compose file already has a service %q; rename the workload", of, name)
	}
	t.result.Project.Services[name] = service
	return nil
}

// aliases returns the names of a pod: those of its workload and of the Services that select
// it. The pod's own name is that of its service.
func (t *translation) aliases(p *pod) []string {
	names := []string{p.workload.name}
	for _, service := range t.services {
		if !selects(service, p.labels) {
			continue
		}
		names = append(names, service.Name)
		for _, suffix := range []string{"." + t.namespace, "." + t.namespace + ".svc", "." + t.namespace + ".svc.cluster.local"} {
			if t.mentions(service.Name + suffix) {
				names = append(names, service.Name+suffix)
			}
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == p.name })
}

// selects reports whether a Service selects pods with labels.
func selects(service *corev1.Service, labels map[string]string) bool {
	if len(service.Spec.Selector) == 0 {
		return false
	}
	for key, value := range service.Spec.Selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// mentions reports whether a value of a container or a ConfigMap contains a host name.
func (t *translation) mentions(host string) bool {
	contains := func(text string) bool {
		_, after, found := strings.Cut(text, host)
		return found && (after == "" || !strings.HasPrefix(after, ".") && !isNameByte(after[0]))
	}
	for _, w := range t.workloads {
		for _, c := range slices.Concat(w.template.Spec.InitContainers, w.template.Spec.Containers) {
			if slices.ContainsFunc(slices.Concat(c.Command, c.Args), contains) ||
				slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return contains(e.Value) }) {
				return true
			}
		}
	}
	for _, configMap := range t.configMaps {
		for _, value := range configMap.Data {
			if contains(value) {
				return true
			}
		}
	}
	return false
}

// isNameByte reports whether a byte can be part of a label of a host name.
func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-'
}

// setNetwork sets what containers of a pod share.
func (t *translation) setNetwork(owner *Service, p *pod) {
	for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
		for _, port := range c.Ports {
			exposed := strconv.Itoa(int(port.ContainerPort))
			if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
				exposed += "/" + strings.ToLower(string(port.Protocol))
			}
			if !slices.Contains(owner.Expose, exposed) {
				owner.Expose = append(owner.Expose, exposed)
			}
		}
	}
	for _, host := range p.spec.HostAliases {
		for _, name := range host.Hostnames {
			owner.ExtraHosts = append(owner.ExtraHosts, name+"="+host.IP)
		}
	}
	if dns := p.spec.DNSConfig; dns != nil {
		owner.DNS, owner.DNSSearch = dns.Nameservers, dns.Searches
		for _, option := range dns.Options {
			text := option.Name
			if option.Value != nil {
				text += ":" + *option.Value
			}
			owner.DNSOptions = append(owner.DNSOptions, text)
		}
	}
	if security := p.spec.SecurityContext; security != nil {
		for _, sysctl := range security.Sysctls {
			if owner.Sysctls == nil {
				owner.Sysctls = map[string]string{}
			}
			owner.Sysctls[sysctl.Name] = sysctl.Value
		}
	}
}

// publish publishes the ports of Services that are reachable from outside a cluster, and
// that of the scheduler for commands with --scheduler.
func (t *translation) publish() {
	used := map[string]string{}
	for _, service := range t.services {
		outside := service.Spec.Type == corev1.ServiceTypeLoadBalancer || service.Spec.Type == corev1.ServiceTypeNodePort
		for i := range t.pods {
			p := &t.pods[i]
			if !selects(service, p.labels) {
				continue
			}
			for _, port := range service.Spec.Ports {
				if outside || service.Name == v1alpha1.SchedulerService && port.Port == schedulerPort {
					t.publishPort(p, service, port, used)
				}
			}
		}
	}
}

// schedulerPort is the port of the scheduler that clients without TLS use.
const schedulerPort = 9004

// publishPort publishes a port of a Service in the first pod that has it.
func (t *translation) publishPort(p *pod, service *corev1.Service, port corev1.ServicePort, used map[string]string) {
	target := targetPort(p, port)
	protocol := strings.ToLower(string(cmp.Or(port.Protocol, corev1.ProtocolTCP)))
	published := strconv.Itoa(int(target))
	name := fmt.Sprintf("port %d of Service %s", port.Port, service.Name)
	switch other := used[published+protocol]; other {
	case "":
	case name: // another replica
		t.warn("port "+strconv.Itoa(int(port.Port))+" of Services", "it is published for the first replica only", "Service "+service.Name)
		return
	default:
		t.warn("port "+strconv.Itoa(int(port.Port))+" of Services", "the port "+published+" of the host is that of "+other, "Service "+service.Name)
		return
	}
	used[published+protocol] = name
	owner := t.result.Project.Services[p.name]
	if owner == nil {
		return
	}
	entry := Port{HostIP: t.PublishAddress, Published: published, Target: target}
	if protocol != "tcp" {
		entry.Protocol = protocol
	}
	owner.Ports = append(owner.Ports, entry)
}

// targetPort returns the port of a pod behind a port of a Service.
func targetPort(p *pod, port corev1.ServicePort) int32 {
	if port.TargetPort.StrVal == "" {
		return cmp.Or(port.TargetPort.IntVal, port.Port)
	}
	for _, c := range p.spec.Containers {
		for _, candidate := range c.Ports {
			if candidate.Name == port.TargetPort.StrVal {
				return candidate.ContainerPort
			}
		}
	}
	return port.Port
}

// addPermissions adds a service that gives volumes the permissions that they have in pods.
func (t *translation) addPermissions() {
	if len(t.permissions) == 0 {
		return
	}
	service := &Service{Image: t.HelperImage, User: "0:0", NetworkMode: "none", Restart: "no"}
	var commands []string
	for _, name := range slices.Sorted(maps.Keys(t.permissions)) {
		commands = append(commands, strings.ReplaceAll(t.permissions[name], "VOLUME", "'/volumes/"+name+"'"))
		service.Volumes = append(service.Volumes, Mount{Type: "volume", Source: name, Target: "/volumes/" + name})
	}
	service.Command = []string{"sh", "-c", strings.Join(commands, " && ")}
	t.result.Project.Services[permissionsService] = service
}

// permissionsService is the name of the service that sets permissions of volumes. Names of
// pods end with a number.
const permissionsService = "volume-permissions"

// finish sorts what the result says, and names what the user has to provide.
func (t *translation) finish() {
	t.result.Warnings = t.warningTexts()
	slices.Sort(t.result.Changes)
	t.result.Changes = slices.Compact(t.result.Changes)
	slices.Sort(t.result.Notes)
	t.result.Notes = slices.Compact(t.result.Notes)
}

// change records a value that differs from that in Kubernetes.
func (t *translation) change(format string, args ...any) {
	t.result.Changes = append(t.result.Changes, fmt.Sprintf(format, args...))
}

// note records what the user has to provide.
func (t *translation) note(format string, args ...any) {
	t.result.Notes = append(t.result.Notes, fmt.Sprintf(format, args...))
}

// deref returns the value of a pointer, or a default.
func deref[T any](pointer *T, fallback T) T {
	if pointer == nil {
		return fallback
	}
	return *pointer
}
