package nodeagent

import (
	"fmt"
	"net"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// environment resolves a container's variables.
func environment(pod *corev1.Pod, container *corev1.Container) (map[string]string, error) {
	values := map[string]string{}
	for _, variable := range container.Env {
		value := expand(variable.Value, values)
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil {
				return nil, fmt.Errorf("variable %s is of a kind that the node agent does not know", variable.Name)
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
	return "", fmt.Errorf("field %s is none that the node agent knows", path)
}

// reference is $(VAR), or $$, which stands for a $.
var reference = regexp.MustCompile(`\$\$|\$\([-._a-zA-Z][-._a-zA-Z0-9]*\)`)

// expand puts in values as Kubernetes does: what is not known stays as it is.
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

// bindAddress is an argument that says where to listen.
var bindAddress = regexp.MustCompile(`^(--?[a-z-]+-bind-address=)(.*):([0-9]+)$`)

// relocate gives arguments that listen at a port a free one in its place, and tells
// where they listen then, by the port that they had.
func relocate(arguments []string) (relocated []string, listening map[int]string, err error) {
	listening = map[int]string{}
	for _, argument := range arguments {
		if parts := bindAddress.FindStringSubmatch(argument); parts != nil {
			wanted, err := strconv.Atoi(parts[3])
			if err != nil {
				return nil, nil, err
			}
			free, err := process.FreeAddress(parts[2])
			if err != nil {
				return nil, nil, err
			}
			listening[wanted], argument = free, parts[1]+free
		}
		relocated = append(relocated, argument)
	}
	return relocated, listening, nil
}

// readinessURL is where the container says whether it is ready; empty if it has
// no probe by HTTP: then it is ready when it runs.
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
		return "", fmt.Errorf("the readiness probe asks at port %s, and no argument makes the container listen there", probe.Port.String())
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
