package nodeagent

import (
	"fmt"
	"net"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// environment returns the values of a container's environment variables.
func environment(pod *corev1.Pod, container *corev1.Container) (map[string]string, error) {
	values := map[string]string{}
	for _, variable := range container.Env {
		value := expand(variable.Value, values)
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil {
				return nil, fmt.Errorf("variable %s has a source that the node agent does not support", variable.Name)
			}
			var err error
			if value, err = field(pod, from.FieldRef.FieldPath); err != nil {
				return nil, fmt.Errorf("variable %s: %w", variable.Name, err)
			}
		}
		values[variable.Name] = value
	}
	return values, nil
}

// field returns the value of a fieldRef.
func field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	}
	return "", fmt.Errorf("field %s is not supported by the node agent", path)
}

// reference matches $(VAR), and $$, which is an escaped $.
var reference = regexp.MustCompile(`\$\$|\$\([-._a-zA-Z][-._a-zA-Z0-9]*\)`)

// expand replaces references to variables as Kubernetes does: references to unknown
// variables are left unchanged.
func expand(text string, values map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, known := values[found[2:len(found)-1]]; known {
			return value
		}
		return found
	})
}

// bindAddress matches an argument with an address to listen on.
var bindAddress = regexp.MustCompile(`^(--?[a-z-]+-bind-address=)(.*):([0-9]+)$`)

// remapPorts replaces the port of each bind address in arguments by a free one. It
// returns the new arguments, and the new address by the original port.
func remapPorts(arguments []string) (remapped []string, listening map[int]string, err error) {
	listening = map[int]string{}
	for _, argument := range arguments {
		if parts := bindAddress.FindStringSubmatch(argument); parts != nil {
			port, err := strconv.Atoi(parts[3])
			if err != nil {
				return nil, nil, err
			}
			free, err := process.FreeAddress(parts[2])
			if err != nil {
				return nil, nil, err
			}
			listening[port], argument = free, parts[1]+free
		}
		remapped = append(remapped, argument)
	}
	return remapped, listening, nil
}

// readinessURL returns the URL of a container's readiness probe. It is empty if the
// container has no HTTP probe; such a container is ready while it runs.
func readinessURL(container *corev1.Container, listening map[int]string) (string, error) {
	if container.ReadinessProbe == nil || container.ReadinessProbe.HTTPGet == nil {
		return "", nil
	}
	probe := container.ReadinessProbe.HTTPGet
	port := probe.Port.IntValue()
	for _, each := range container.Ports {
		if each.Name == probe.Port.StrVal && each.Name != "" {
			port = int(each.ContainerPort)
		}
	}
	address, found := listening[port]
	if !found {
		return "", fmt.Errorf("readiness probe: no argument of the container is a bind address with port %s", probe.Port.String())
	}
	host, port2, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port2) + probe.Path, nil
}
