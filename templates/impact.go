package templates

import (
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// ImpactOf returns the impact of a step of a preview for a runtime or a Server. It is that
// of the engine, raised by what only the templates know:
//
//	a Service whose spec changes                              Connection
//	another topicPrefix of Kafka: the topics are not used     DataLoss
//	a workload that stops mounting one of its claims          DataLoss
//	a StatefulSet with claims that is deleted or replaced     DataLoss
//	a Server that is deleted while Models are loaded on it    DataLoss
func ImpactOf(step composition.Step) plan.Impact {
	impact := plan.ImpactOf(step)
	if impact == plan.ImpactNoOp || step.Live == nil {
		return impact
	}
	switch {
	case losesData(step):
		return plan.ImpactDataLoss
	case step.Ref.Kind == "Service" && impact == plan.ImpactLive:
		return plan.ImpactConnection
	}
	return impact
}

// losesData reports whether a step deletes data, or stops using it.
func losesData(step composition.Step) bool {
	switch {
	case step.Ref.Kind == v1alpha1.KindServer:
		loaded, _, _ := unstructured.NestedInt64(step.Live.Object, "status", "loadedModels")
		return step.Action == plan.Delete && loaded > 0
	case step.Ref.Kind == "StatefulSet" && step.Action == plan.Delete:
		return len(claimsOf(step.Live)) > 0
	case step.Result == nil:
		return false
	case step.Ref.Kind == "StatefulSet":
		mounted := mountedVolumes(step.Result)
		for name := range mountedVolumes(step.Live) {
			if slices.Contains(claimsOf(step.Live), name) && !mounted[name] {
				return true
			}
		}
	case step.Ref.Kind == "ConfigMap" && step.Ref.Name == "seldon-kafka":
		before, after := kafkaOf(step.Live), kafkaOf(step.Result)
		return before != nil && after != nil && !equality.Semantic.DeepEqual(before["topicPrefix"], after["topicPrefix"])
	}
	return false
}

// claimsOf returns the names of a StatefulSet's claim templates.
func claimsOf(set *unstructured.Unstructured) []string {
	templates, _, _ := unstructured.NestedSlice(set.Object, plan.ClaimTemplatesPath...)
	var names []string
	for _, each := range templates {
		claim, _ := each.(map[string]any)
		name, _, _ := unstructured.NestedString(claim, "metadata", "name")
		names = append(names, name)
	}
	return names
}

// mountedVolumes returns the names of the volumes that containers of a workload mount.
func mountedVolumes(workload *unstructured.Unstructured) map[string]bool {
	names := map[string]bool{}
	for _, field := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", field)
		for _, each := range containers {
			container, _ := each.(map[string]any)
			mounts, _, _ := unstructured.NestedSlice(container, "volumeMounts")
			for _, each := range mounts {
				mount, _ := each.(map[string]any)
				name, _ := mount["name"].(string)
				names[name] = true
			}
		}
	}
	return names
}

// kafkaOf returns the Kafka configuration in a ConfigMap; nil if it is not valid.
func kafkaOf(configMap *unstructured.Unstructured) map[string]any {
	text, _, _ := unstructured.NestedString(configMap.Object, "data", "kafka.json")
	var kafka map[string]any
	if json.Unmarshal([]byte(text), &kafka) != nil {
		return nil
	}
	return kafka
}
