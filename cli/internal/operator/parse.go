package operator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/templates"
)

// Names in the Deployment of config/manager and of the Helm chart.
const (
	containerName = "manager"
	upstreamImage = "seldonv2-controller"
	versionLabel  = "app.kubernetes.io/version"
	podNamespace  = "POD_NAMESPACE"
)

// boolean are the flags whose value is only given with "=", by the rules of package flag.
var boolean = []string{"clusterwide", "use-deployments-for-servers", "leader-elect", "metrics-secure", "version", "zap-devel"}

// parse returns the operator of a Deployment, and an error for each setting that cannot be
// resolved. Those settings have their defaults.
func parse(deployment *appsv1.Deployment) (*Operator, []error) {
	operator := Assumed(deployment.Namespace)
	operator.Deployment = client.ObjectKeyFromObject(deployment)
	operator.Ready = deployment.Status.AvailableReplicas > 0
	spec := deployment.Spec.Template.Spec
	if len(spec.Containers) == 0 {
		return operator, nil
	}
	container := spec.Containers[max(0, slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == containerName }))]
	operator.Image = container.Image
	var repository string
	repository, operator.Version = splitImage(container.Image)
	operator.Version = cmp.Or(operator.Version, deployment.Labels[versionLabel])
	operator.Upstream = repository == upstreamImage || strings.HasSuffix(repository, "/"+upstreamImage)

	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("settings of Deployment %s/%s: %s", deployment.Namespace, deployment.Name, fmt.Sprintf(format, args...)))
	}
	env := environment(deployment, container.Env)
	operator.Namespace = cmp.Or(env[podNamespace], deployment.Namespace)
	flags := map[string]string{}
	for name, value := range arguments(slices.Concat(container.Command, container.Args)) {
		expanded, unknown := expand(value, env)
		if len(unknown) > 0 && slices.Contains([]string{"namespace", "watch-namespaces", "clusterwide", "use-deployments-for-servers", "max-replicas-per-server"}, name) {
			problem("the value of --%s uses %s, which has no value in the Deployment; the default is assumed", name, strings.Join(unknown, ", "))
			continue
		}
		flags[name] = expanded
	}
	parseBool := func(name string) bool {
		value, set := flags[name]
		if !set {
			return false
		}
		result, err := strconv.ParseBool(value)
		if err != nil {
			problem("--%s=%s is not a boolean; false is assumed", name, value)
		}
		return result
	}
	operator.UseDeployments = parseBool("use-deployments-for-servers")
	if value, set := flags["max-replicas-per-server"]; set {
		replicas, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			problem("--max-replicas-per-server=%s is not a number; %d is assumed", value, int64(templates.DefaultMaxReplicas))
		} else {
			operator.MaxReplicasPerServer = replicas
		}
	}
	// The rules of the manager's flags.
	if !parseBool("clusterwide") {
		operator.WatchedNamespaces = []string{cmp.Or(flags["namespace"], operator.Namespace)}
		return operator, problems
	}
	for name := range strings.SplitSeq(flags["watch-namespaces"], ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(operator.WatchedNamespaces, name) {
			operator.WatchedNamespaces = append(operator.WatchedNamespaces, name)
		}
	}
	if len(operator.WatchedNamespaces) > 0 && !slices.Contains(operator.WatchedNamespaces, operator.Namespace) {
		operator.WatchedNamespaces = append(operator.WatchedNamespaces, operator.Namespace)
	}
	return operator, problems
}

// splitImage returns the repository and the tag of an image; the tag is empty if there is none.
// The digest is dropped.
func splitImage(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if at := strings.LastIndexByte(image, ':'); at > strings.LastIndexByte(image, '/') {
		return image[:at], image[at+1:]
	}
	return image, ""
}

// arguments returns the flags of a command line by the rules of package flag, without
// expanding variables. The last value of a flag counts.
func arguments(args []string) map[string]string {
	flags := map[string]string{}
	for i := 0; i < len(args); i++ {
		arg, isFlag := strings.CutPrefix(args[i], "-")
		if !isFlag || arg == "" {
			continue
		}
		name, value, assigned := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		switch {
		case assigned:
		case slices.Contains(boolean, name):
			value = "true"
		case i+1 < len(args):
			i++
			value = args[i]
		}
		flags[name] = value
	}
	return flags
}

// environment returns the variables of a container whose values are in the Deployment, or are
// the namespace or the labels of the pod.
func environment(deployment *appsv1.Deployment, variables []corev1.EnvVar) map[string]string {
	env := map[string]string{}
	for _, variable := range variables {
		switch from := variable.ValueFrom; {
		case from == nil:
			env[variable.Name], _ = expand(variable.Value, env)
		case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.namespace":
			env[variable.Name] = deployment.Namespace
		default:
			delete(env, variable.Name)
		}
	}
	return env
}

// expand replaces $(NAME) by the value of the variable, and $$ by $, as the kubelet does.
// It returns the references without a value, which stay in the text.
func expand(text string, env map[string]string) (expanded string, unknown []string) {
	var result strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		result.WriteString(before)
		if !found {
			return result.String(), unknown
		}
		text = after
		if rest, escaped := strings.CutPrefix(text, "$"); escaped {
			result.WriteByte('$')
			text = rest
			continue
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(text, "("), ")")
		if !strings.HasPrefix(text, "(") || !closed {
			result.WriteByte('$')
			continue
		}
		value, known := env[name]
		if !known {
			value = "$(" + name + ")"
			unknown = append(unknown, value)
		}
		result.WriteString(value)
		text = rest
	}
}
