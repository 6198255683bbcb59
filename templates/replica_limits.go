package templates

import (
	"cmp"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Counts are the numbers of objects in a runtime's namespace that are not being deleted.
type Counts struct {
	Models, Pipelines int
}

// ReplicaLimit describes a component that gets fewer replicas than a layer requests,
// because more would have nothing to do.
type ReplicaLimit struct {
	Component           string
	Requested, Replicas int64
	// Reason describes how the number was computed.
	Reason string
}

// String returns a message for status.
func (b ReplicaLimit) String() string {
	return fmt.Sprintf("component %s has %d of %d requested replicas, because more would be idle: %s; to remove this condition, request fewer",
		b.Component, b.Replicas, b.Requested, b.Reason)
}

// defaultMaxConsumers is the number of consumers that the gateways and the scheduler
// assume if no environment variable sets another.
const defaultMaxConsumers = 100

// limitedComponent defines what limits the replicas of a component: each Pipeline or
// Model occupies up to `multiplier` replicas, and no more of them count than the
// capacity.
type limitedComponent struct {
	counted  string
	count    func(Counts) int
	capacity string // environment variable; empty means the default
}

var limitedComponents = map[string]limitedComponent{
	v1alpha1.ComponentDataflowEngine: {
		counted: "Pipelines", count: func(c Counts) int { return c.Pipelines }},
	v1alpha1.ComponentPipelineGateway: {
		counted: "Pipelines", count: func(c Counts) int { return c.Pipelines },
		capacity: "PIPELINEGATEWAY_MAX_NUM_CONSUMERS"},
	v1alpha1.ComponentModelGateway: {
		counted: "Models", count: func(c Counts) int { return c.Models },
		capacity: "MODELGATEWAY_MAX_NUM_CONSUMERS"},
}

// limitReplicas limits the replicas that a layer requests for a component. workload is
// the merged workload of the component. A component without a limit gets what was
// requested; a limit is returned only if it reduces the number.
func limitReplicas(component string, requested int64, workload map[string]any, counts Counts, multiplier *int64) (int64, *ReplicaLimit, error) {
	limit, found := limitedComponents[component]
	if !found {
		return requested, nil, nil
	}
	capacity, err := maxConsumers(workload, limit.capacity)
	if err != nil {
		return 0, nil, fmt.Errorf("component %s: %w", component, err)
	}
	count := limit.count(counts)
	most := int64(1)
	if count > 0 {
		most = max(deref(multiplier), 1) * min(int64(count), capacity)
	}
	if requested <= most {
		return requested, nil, nil
	}
	reason := fmt.Sprintf("%d %s use at most %d", count, limit.counted, most)
	if int64(count) > capacity {
		reason += fmt.Sprintf(", since only %d of them count", capacity)
	}
	return most, &ReplicaLimit{Component: component, Requested: requested, Replicas: most, Reason: reason}, nil
}

// nameTooLong returns the message that pods of a StatefulSet may be rejected because of
// the length of its name; it is empty for other workloads and names. The API server
// rejects such a name when its object is created, but accepts the StatefulSet of an
// object that was stored before that rule; whether its pods have a valid label depends
// on the length of a hash.
func nameTooLong(workload schema.GroupVersionKind, kind, name string) string {
	if workload.Kind != "StatefulSet" || len(name) <= v1alpha1.MaxWorkloadNameLength {
		return ""
	}
	return fmt.Sprintf("%s %s: the name has %d characters and may have %d: the label controller-revision-hash of its pods has the name and a hash, and at most 63 characters, so that pods may be rejected: replace it with one that has a shorter name",
		kind, name, len(name), v1alpha1.MaxWorkloadNameLength)
}

// DefaultMaxReplicas is the default maximum number of replicas of a Server. Each replica
// has its own Service.
const DefaultMaxReplicas = 500

func (s Server) maxReplicas() int64 { return cmp.Or(s.MaxReplicas, DefaultMaxReplicas) }

// ExceedsLimit reports whether the Server requests more than MaxReplicas, in which case
// LiveReplicas is used.
func (s Server) ExceedsLimit() bool {
	replicas, _, _, err := s.Server.Spec.Bounds()
	return err == nil && int64(replicas) > s.maxReplicas()
}

// replicas returns the replicas of the Server's workload: those that the Server requests
// or, if these exceed the limit, those that the workload has, or the limit for a new one.
// limited is the message of the condition in that case, and empty otherwise.
func (s Server) replicas() (replicas int64, limited string, err error) {
	requested, _, _, err := s.Server.Spec.Bounds()
	if err != nil || !s.ExceedsLimit() {
		return int64(requested), "", err
	}
	// The live replicas are not increased, but they may be reduced.
	replicas = min(int64(requested), *firstNonNil(s.LiveReplicas, new(s.maxReplicas())))
	field := "spec.replicas"
	if s.Server.Spec.Replicas == nil {
		field = "spec.minReplicas"
	}
	return replicas, fmt.Sprintf("%s: %d replicas are requested, and the operator's --max-replicas-per-server allows %d; %s %s is applied with %d replicas; lower %s or raise the flag",
		field, requested, s.maxReplicas(), s.Kind().Kind, s.Server.Name, replicas, field), nil
}

// maxConsumers returns the value of an environment variable of any container of
// workload; variable may be empty.
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
