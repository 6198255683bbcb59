package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/seldon-operator/seldon-operator/inputs"
)

// container translates a container of a pod. after are the services that it starts after.
func (t *translation) container(p *pod, c *corev1.Container, after map[string]Dependency) (*Service, error) {
	of := fmt.Sprintf("%s/%s", p.workload, c.Name)
	environment, errs := t.environment(p, c, of)
	service := &Service{
		Image: escape(c.Image), NetworkMode: "service:" + p.name, Environment: environment,
		WorkingDir: escape(c.WorkingDir), StdinOpen: c.Stdin, TTY: c.TTY,
		DependsOn: maps.Clone(after), Restart: "unless-stopped",
	}
	service.Entrypoint = t.expandAll(c.Command, environment, of)
	service.Command = t.expandAll(c.Args, environment, of)
	switch c.ImagePullPolicy {
	case corev1.PullAlways:
		service.PullPolicy = "always"
	case corev1.PullNever:
		service.PullPolicy = "never"
	case corev1.PullIfNotPresent: // the default of Compose
	}
	if deref(p.spec.ShareProcessNamespace, false) {
		service.PID = "service:" + p.name
	}
	if seconds := p.spec.TerminationGracePeriodSeconds; seconds != nil {
		service.StopGracePeriod = strconv.FormatInt(*seconds, 10) + "s"
	}
	t.setSecurity(service, p, c, of)
	t.setResources(service, c, of)
	t.setHooks(service, c, of)
	service.Healthcheck = t.ownCheck(c)
	errs = append(errs, t.setVolumes(service, p, c, of))
	t.setConfigHash(service, p)
	t.setTLS(service, of)
	t.rewritePorts(service, of)
	return service, errors.Join(errs...)
}

// setConfigHash sets a label with the hash of the configuration that programs do not read
// again while they run: that which pods read when they start, and contents of the Compose
// file. A container with another value is created again by "up".
func (t *translation) setConfigHash(service *Service, p *pod) {
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, p.configHash)
	for _, mounted := range service.Configs {
		_, _ = fmt.Fprintf(hash, "%s\n%q\n", mounted.Target, t.result.Project.Configs[mounted.Source].Content)
	}
	if p.configHash != "" || len(service.Configs) > 0 {
		service.Labels = map[string]string{inputs.EngineOptions.ConfigHashAnnotation(): hex.EncodeToString(hash.Sum(nil)[:8])}
	}
}

// environment returns the variables of a container. Values are escaped.
func (t *translation) environment(p *pod, c *corev1.Container, of string) (map[string]string, []error) {
	values := map[string]string{}
	var errs []error
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			configMap := t.configMaps[from.ConfigMapRef.Name]
			if configMap == nil && !deref(from.ConfigMapRef.Optional, false) {
				errs = append(errs, fmt.Errorf("%s: envFrom: there is no ConfigMap %q among the objects; add it", of, from.ConfigMapRef.Name))
				continue
			}
			if configMap != nil {
				for key, value := range configMap.Data {
					values[from.Prefix+key] = escape(value)
				}
			}
		case from.SecretRef != nil:
			secret := t.secrets[from.SecretRef.Name]
			if secret == nil && !deref(from.SecretRef.Optional, false) {
				t.warn("envFrom", fmt.Sprintf("Secret %s is not among the objects, so its keys are not known; add it or set the variables", from.SecretRef.Name), of)
			}
			for key := range keysOf(secret) {
				values[from.Prefix+key] = t.variable(from.SecretRef.Name, key)
			}
		}
	}
	for _, variable := range c.Env {
		if variable.ValueFrom == nil {
			values[variable.Name] = t.expand(variable.Value, values, of)
			continue
		}
		value, found, err := t.valueFrom(p, c, variable, of)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: env %s: %w", of, variable.Name, err))
		}
		if found {
			values[variable.Name] = value
		}
	}
	return values, errs
}

// valueFrom returns the value of a variable with a source, escaped. found is false if the
// variable is not set.
func (t *translation) valueFrom(p *pod, c *corev1.Container, variable corev1.EnvVar, of string) (value string, found bool, err error) {
	switch from := variable.ValueFrom; {
	case from.FieldRef != nil:
		value, found = t.field(p, from.FieldRef.FieldPath)
		if !found {
			t.warn("env "+variable.Name, from.FieldRef.FieldPath+" has no counterpart in Compose, and the variable is not set", of)
		}
		return escape(value), found, nil
	case from.ResourceFieldRef != nil:
		value, found = resourceField(p, c, from.ResourceFieldRef)
		if !found {
			t.warn("env "+variable.Name, from.ResourceFieldRef.Resource+" is not set, and the variable is not set either", of)
		}
		return value, found, nil
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		configMap := t.configMaps[ref.Name]
		if configMap != nil {
			value, found = configMap.Data[ref.Key]
		}
		if !found && !deref(ref.Optional, false) {
			return "", false, fmt.Errorf("there is no ConfigMap %q with the key %q among the objects; add it", ref.Name, ref.Key)
		}
		return escape(value), found, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		if t.secrets[ref.Name] == nil && deref(ref.Optional, false) {
			return "", false, nil
		}
		return t.variable(ref.Name, ref.Key), true, nil
	default:
		t.warn("env "+variable.Name, "this source has no counterpart in Compose, and the variable is not set", of)
		return "", false, nil
	}
}

// field returns the value of a field of a pod. The address of a pod is its name.
func (t *translation) field(p *pod, path string) (value string, found bool) {
	switch path {
	case "metadata.name", "status.podIP", "status.podIPs":
		return p.name, true
	case "metadata.namespace":
		return t.namespace, true
	case "spec.serviceAccountName":
		return p.spec.ServiceAccountName, true
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": p.labels, "metadata.annotations['": p.template.Annotations} {
		if key, is := strings.CutPrefix(path, prefix); is {
			return values[strings.TrimSuffix(key, "']")], true
		}
	}
	return "", false
}

// resourceField returns a resource of a container of a pod, as Kubernetes rounds it.
func resourceField(p *pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (value string, found bool) {
	for _, other := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
		if other.Name == ref.ContainerName {
			c = &other
			break
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	quantity, found := c.Resources.Limits[corev1.ResourceName(name)]
	if kind == "requests" {
		if request, set := c.Resources.Requests[corev1.ResourceName(name)]; set {
			quantity, found = request, true
		}
	}
	if !found {
		return "", false
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(ceil(quantity.MilliValue(), divisor.MilliValue()), 10), true
	}
	return strconv.FormatInt(ceil(quantity.Value(), divisor.Value()), 10), true
}

// ceil returns a quotient, rounded up.
func ceil(value, divisor int64) int64 { return (value + divisor - 1) / divisor }

// expandAll expands the references in texts.
func (t *translation) expandAll(texts []string, values map[string]string, of string) []string {
	var expanded []string
	for _, text := range texts {
		expanded = append(expanded, t.expand(text, values, of))
	}
	return expanded
}

// expand replaces references $(NAME) by values, which are escaped, and escapes the rest. As
// in Kubernetes, $$ is a dollar sign, and a reference to an unknown variable stays.
func (t *translation) expand(text string, values map[string]string, of string) string {
	var expanded strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			expanded.WriteString(escape(text[i : i+1]))
			continue
		}
		switch text[i+1] {
		case '$':
			expanded.WriteString("$$")
			i++
			continue
		case '(':
			if end := strings.IndexByte(text[i:], ')'); end > 0 {
				name := text[i+2 : i+end]
				value, found := values[name]
				if !found {
					t.warn("$("+name+")", "no variable of the container has this name, and the text stays as it is", of)
					value = escape(text[i : i+end+1])
				}
				expanded.WriteString(value)
				i += end
				continue
			}
		}
		expanded.WriteString("$$")
	}
	return expanded.String()
}

// setSecurity sets user, groups and capabilities.
func (t *translation) setSecurity(service *Service, p *pod, c *corev1.Container, of string) {
	ofPod := deref(p.spec.SecurityContext, corev1.PodSecurityContext{})
	own := deref(c.SecurityContext, corev1.SecurityContext{})
	user, group := ofPod.RunAsUser, ofPod.RunAsGroup
	if own.RunAsUser != nil {
		user = own.RunAsUser
	}
	if own.RunAsGroup != nil {
		group = own.RunAsGroup
	}
	if user != nil {
		service.User = strconv.FormatInt(*user, 10)
		if group != nil {
			service.User += ":" + strconv.FormatInt(*group, 10)
		}
	} else if deref(ofPod.RunAsNonRoot, false) || deref(own.RunAsNonRoot, false) {
		t.warn("securityContext.runAsNonRoot", "Compose does not check the user of an image; set runAsUser", of)
	}
	groups := slices.Clone(ofPod.SupplementalGroups)
	if ofPod.FSGroup != nil {
		groups = append(groups, *ofPod.FSGroup)
	}
	for _, group := range groups {
		service.GroupAdd = append(service.GroupAdd, strconv.FormatInt(group, 10))
	}
	if capabilities := own.Capabilities; capabilities != nil {
		for _, capability := range capabilities.Add {
			service.CapAdd = append(service.CapAdd, string(capability))
		}
		for _, capability := range capabilities.Drop {
			service.CapDrop = append(service.CapDrop, string(capability))
		}
	}
	service.Privileged, service.ReadOnly = deref(own.Privileged, false), deref(own.ReadOnlyRootFilesystem, false)
	if !deref(own.AllowPrivilegeEscalation, true) {
		service.SecurityOptions = append(service.SecurityOptions, "no-new-privileges:true")
	}
	profile := own.SeccompProfile
	if profile == nil {
		profile = ofPod.SeccompProfile
	}
	if profile != nil {
		switch profile.Type {
		case corev1.SeccompProfileTypeRuntimeDefault: // the default of container engines
		case corev1.SeccompProfileTypeUnconfined:
			service.SecurityOptions = append(service.SecurityOptions, "seccomp:unconfined")
		case corev1.SeccompProfileTypeLocalhost:
			t.warn("securityContext.seccompProfile", "a profile of a node has no counterpart in Compose", of)
		}
	}
}

// setResources sets limits and reservations.
func (t *translation) setResources(service *Service, c *corev1.Container, of string) {
	resources := Resources{Limits: &Resource{}, Reservations: &Resource{}}
	set := func(into *Resource, list corev1.ResourceList, kind string) {
		for name, quantity := range list {
			switch {
			case name == corev1.ResourceCPU:
				into.CPUs = strconv.FormatFloat(float64(quantity.MilliValue())/1000, 'f', -1, 64)
			case name == corev1.ResourceMemory:
				into.Memory = strconv.FormatInt(quantity.Value(), 10)
			case strings.HasPrefix(string(name), "nvidia.com/gpu"):
				if kind == "limits" {
					resources.Reservations.Devices = []Device{{Driver: "nvidia", Count: quantity.Value(), Capabilities: []string{"gpu"}}}
				}
			default:
				t.warn("resources."+kind+"."+string(name), "this resource has no counterpart in Compose", of)
			}
		}
	}
	set(resources.Limits, c.Resources.Limits, "limits")
	set(resources.Reservations, c.Resources.Requests, "requests")
	if len(c.Resources.Claims) > 0 {
		t.warn("resources.claims", "claims of devices have no counterpart in Compose", of)
	}
	if isEmpty(resources.Limits) {
		resources.Limits = nil
	}
	if isEmpty(resources.Reservations) {
		resources.Reservations = nil
	}
	if resources.Limits != nil || resources.Reservations != nil {
		service.Deploy = &Deploy{Resources: resources}
	}
}

func isEmpty(r *Resource) bool { return r.CPUs == "" && r.Memory == "" && len(r.Devices) == 0 }

// setHooks sets the commands that run after the start and before the stop of a container.
func (t *translation) setHooks(service *Service, c *corev1.Container, of string) {
	if c.Lifecycle == nil {
		return
	}
	for field, handler := range map[string]*corev1.LifecycleHandler{"postStart": c.Lifecycle.PostStart, "preStop": c.Lifecycle.PreStop} {
		if handler == nil {
			continue
		}
		if handler.Exec == nil {
			t.warn("lifecycle."+field, "Compose runs commands only, and the image may have no program that sends requests or waits", of)
			continue
		}
		hooks := []Hook{{Command: escapeAll(handler.Exec.Command)}}
		if field == "preStop" {
			service.PreStop = hooks
		} else {
			service.PostStart = hooks
		}
	}
	if c.Lifecycle.StopSignal != nil {
		t.warn("lifecycle.stopSignal", "set it in an override file", of)
	}
}
