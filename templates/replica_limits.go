package templates

import (
	"cmp"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Counts are of the objects in a runtime's namespace, less those that are being
// deleted.
type Counts struct {
	Models, Pipelines int
}

// Bound tells that fewer replicas of a component are made than a layer asks
// for, because more would have nothing to do.
type Bound struct {
	Component       string
	Asked, Replicas int64
	// Because says what the number follows from.
	Because string
}

// String is for a status message.
func (b Bound) String() string {
	return fmt.Sprintf("%s: %d of %d replicas (%s)", b.Component, b.Replicas, b.Asked, b.Because)
}

// defaultMaxConsumers is what the gateways, the scheduler and we take for the
// number of consumers if no environment variable says another.
const defaultMaxConsumers = 100

// boundedComponent says what limits the replicas of a component: each Pipeline
// or Model occupies up to `multiplier` replicas, and so many count at most.
type boundedComponent struct {
	counted  string
	count    func(Counts) int
	capacity string // environment variable; empty means the default
}

var boundedComponents = map[string]boundedComponent{
	v1alpha1.ComponentDataflowEngine: {
		counted: "Pipelines", count: func(c Counts) int { return c.Pipelines }},
	v1alpha1.ComponentPipelineGateway: {
		counted: "Pipelines", count: func(c Counts) int { return c.Pipelines },
		capacity: "PIPELINEGATEWAY_MAX_NUM_CONSUMERS"},
	v1alpha1.ComponentModelGateway: {
		counted: "Models", count: func(c Counts) int { return c.Models },
		capacity: "MODELGATEWAY_MAX_NUM_CONSUMERS"},
}

// boundReplicas bounds the replicas that a layer sets for a component. workload
// is the component as its layers make it. A component without a bound gets what
// was asked for; a bound is given only if it lowers the number.
func boundReplicas(component string, asked int64, workload map[string]any, counts Counts, multiplier *int64) (int64, *Bound, error) {
	limit, found := boundedComponents[component]
	if !found {
		return asked, nil, nil
	}
	capacity, err := maxConsumers(workload, limit.capacity)
	if err != nil {
		return 0, nil, fmt.Errorf("component %s: %w", component, err)
	}
	count := limit.count(counts)
	most := int64(1)
	if count > 0 {
		most = max(value(multiplier), 1) * min(int64(count), capacity)
	}
	if asked <= most {
		return asked, nil, nil
	}
	return most, &Bound{
		Component: component, Asked: asked, Replicas: most,
		Because: fmt.Sprintf("%d %s, at most %d count, times %d", count, limit.counted, capacity, max(value(multiplier), 1)),
	}, nil
}

// nameTooLong says that no pod of a StatefulSet may come up, because of the length
// of its name; it is empty for other workloads and names. The API server refuses
// such a name when its object is created, and accepts the StatefulSet of an object
// that was stored before; whether its pods have a valid label depends on the length
// of a hash.
func nameTooLong(workload schema.GroupVersionKind, kind, name string) string {
	if workload.Kind != "StatefulSet" || len(name) <= v1alpha1.MaxWorkloadNameLength {
		return ""
	}
	return fmt.Sprintf("%s %s: the name has %d characters and may have %d: the label controller-revision-hash of its pods has the name and a hash, and at most 63 characters, so that pods may be rejected: replace it by one of a shorter name",
		kind, name, len(name), v1alpha1.MaxWorkloadNameLength)
}

// DefaultMaxReplicas is how many replicas a Server may ask for by default. Each
// replica has a Service of its own.
const DefaultMaxReplicas = 500

func (s Server) maxReplicas() int64 { return cmp.Or(s.MaxReplicas, DefaultMaxReplicas) }

// ExceedsLimit reports whether the Server asks for more than MaxReplicas, so that
// LiveReplicas counts.
func (s Server) ExceedsLimit() bool {
	replicas, _, _, err := s.Server.Spec.Bounds()
	return err == nil && int64(replicas) > s.maxReplicas()
}

// replicas of the Server's workload: those that the Server asks for and, if these
// exceed the limit, those that the workload has, or the limit for a new one.
// limited is the message of the condition then, and empty otherwise.
func (s Server) replicas() (replicas int64, limited string, err error) {
	requested, _, _, err := s.Server.Spec.Bounds()
	if err != nil || !s.ExceedsLimit() {
		return int64(requested), "", err
	}
	// Live replicas are not raised, but they may be lowered.
	replicas = min(int64(requested), *first(s.LiveReplicas, new(s.maxReplicas())))
	field := "spec.replicas"
	if s.Server.Spec.Replicas == nil {
		field = "spec.minReplicas"
	}
	return replicas, fmt.Sprintf("%s: %d replicas are requested, and the operator's --max-replicas-per-server allows %d; %s %s is applied with %d replicas: lower %s or raise the flag",
		field, requested, s.maxReplicas(), s.Kind().Kind, s.Server.Name, replicas, field), nil
}

// maxConsumers reads an environment variable wherever in the pod it is set.
func maxConsumers(workload map[string]any, variable string) (int64, error) {
	if variable == "" {
		return defaultMaxConsumers, nil
	}
	containers, _, _ := unstructured.NestedSlice(workload, "spec", "template", "spec", "containers")
	for _, container := range containers {
		fields, _ := container.(map[string]any)
		env, _, _ := unstructured.NestedSlice(fields, "env")
		for _, entry := range env {
			pair, _ := entry.(map[string]any)
			text, literal := pair["value"].(string)
			if pair["name"] != variable || !literal {
				continue
			}
			number, err := strconv.ParseInt(text, 10, 32)
			if err != nil || number < 1 {
				return 0, fmt.Errorf("environment variable %s is %q in container %v; set it to a number of 1 or more", variable, text, fields["name"])
			}
			return number, nil
		}
	}
	return defaultMaxConsumers, nil
}
