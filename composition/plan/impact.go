package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Impact is what users of an object notice of a step. The values are in the order of
// severity: that of several steps is the maximum.
type Impact int

const (
	// ImpactNoOp: nothing changes.
	ImpactNoOp Impact = iota
	// ImpactMetadata: labels, annotations or owner references, but not those of pods.
	ImpactMetadata
	// ImpactLive: other fields that take effect without a restart, an additional object, or another
	// number of pods.
	ImpactLive
	// ImpactConnection: clients must connect again.
	ImpactConnection
	// ImpactRestart: pods are replaced, and some are ready all the time.
	ImpactRestart
	// ImpactOutage: pods are replaced or removed, and for a time none is ready.
	ImpactOutage
	// ImpactRecreate: the object is deleted and created, and its pods are kept.
	ImpactRecreate
	// ImpactDelete: the object is deleted.
	ImpactDelete
	// ImpactDataLoss: stored data is deleted or not used any more.
	ImpactDataLoss
)

// Impacts lists all values, from the lowest.
func Impacts() []Impact {
	return []Impact{ImpactNoOp, ImpactMetadata, ImpactLive, ImpactConnection, ImpactRestart, ImpactOutage, ImpactRecreate, ImpactDelete, ImpactDataLoss}
}

var impactNames = []string{"NoOp", "Metadata", "Live", "Connection", "Restart", "Outage", "Recreate", "Delete", "DataLoss"}

// String returns the name, in CamelCase.
func (i Impact) String() string {
	if i < 0 || int(i) >= len(impactNames) {
		return fmt.Sprintf("Impact(%d)", int(i))
	}
	return impactNames[i]
}

// MarshalText returns the name.
func (i Impact) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText parses a name.
func (i *Impact) UnmarshalText(text []byte) error {
	index := slices.Index(impactNames, string(text))
	if index < 0 {
		return fmt.Errorf("%q is not an impact; it must be one of %v", text, impactNames)
	}
	*i = Impact(index)
	return nil
}

// ImpactOf returns the impact of a step of a preview, from its Live and Result objects.
func ImpactOf(step Step) Impact {
	switch step.Action {
	case Delete:
		return ImpactDelete
	case Recreate:
		return ImpactRecreate
	case Apply:
	default:
		return ImpactNoOp
	}
	switch {
	case step.Live == nil:
		return ImpactLive
	case step.Result == nil:
		return ImpactNoOp
	}
	if impact := PodImpactOf(step); impact > ImpactLive {
		return impact
	}
	switch {
	case !equality.Semantic.DeepEqual(content(step.Live), content(step.Result)):
		return ImpactLive
	case !equality.Semantic.DeepEqual(metadata(step.Live), metadata(step.Result)):
		return ImpactMetadata
	}
	return ImpactNoOp
}

// PodImpactOf returns what a step of a preview does to the pods of a workload: Restart, Outage,
// Delete, or at most Live. A StatefulSet that is recreated may have another pod template too.
func PodImpactOf(step Step) Impact {
	switch {
	case !object.IsWorkload(step.Ref.GroupKind()) || step.Live == nil:
		return ImpactNoOp
	case step.Action == Delete:
		return ImpactDelete
	case step.Action != Apply && step.Action != Recreate || step.Result == nil:
		return ImpactNoOp
	}
	return workloadImpact(step.Live, step.Result)
}

// content returns the fields of an object but for its metadata and status.
func content(o *unstructured.Unstructured) map[string]any {
	fields := object.StripIdentity(o)
	delete(fields, "metadata")
	delete(fields, "status")
	return fields
}

// metadata returns what users set of an object's metadata.
func metadata(o *unstructured.Unstructured) map[string]any {
	fields, _ := o.Object["metadata"].(map[string]any)
	return map[string]any{"labels": fields["labels"], "annotations": fields["annotations"], "ownerReferences": fields["ownerReferences"]}
}

// workloadImpact returns what a change of a workload does to its pods: Restart, Outage, or
// at most Live.
func workloadImpact(live, result *unstructured.Unstructured) Impact {
	before, after := replicasOf(live), replicasOf(result)
	switch {
	case before == 0:
		return ImpactLive
	case after == 0:
		return ImpactOutage
	case equality.Semantic.DeepEqual(PodTemplate(live), PodTemplate(result)):
		return ImpactLive
	}
	return rolloutImpact(result, min(before, after))
}

// rolloutImpact returns the impact of replacing the pods of a workload with so many replicas.
func rolloutImpact(workload *unstructured.Unstructured, replicas int) Impact {
	field := func(path ...string) any {
		value, _, _ := unstructured.NestedFieldNoCopy(workload.Object, append([]string{"spec"}, path...)...)
		return value
	}
	var unavailable int
	if workload.GetKind() == "StatefulSet" {
		if field("updateStrategy", "type") == "OnDelete" {
			return ImpactLive
		}
		if partition, _ := field("updateStrategy", "rollingUpdate", "partition").(int64); int(partition) >= replicas {
			return ImpactLive
		}
		// Pods are deleted before they are replaced.
		unavailable = max(1, scaledReplicas(field("updateStrategy", "rollingUpdate", "maxUnavailable"), replicas, 1, false))
	} else {
		if paused, _ := field("paused").(bool); paused {
			return ImpactLive
		}
		if field("strategy", "type") == "Recreate" {
			return ImpactOutage
		}
		surge := scaledReplicas(field("strategy", "rollingUpdate", "maxSurge"), replicas, (replicas+3)/4, true)
		unavailable = scaledReplicas(field("strategy", "rollingUpdate", "maxUnavailable"), replicas, replicas/4, false)
		if surge == 0 && unavailable == 0 {
			unavailable = 1 // the Deployment controller makes progress in any case
		}
	}
	if unavailable >= replicas {
		return ImpactOutage
	}
	return ImpactRestart
}

// replicasOf returns the desired replicas of a workload, which default to 1.
func replicasOf(workload *unstructured.Unstructured) int {
	replicas, found, _ := unstructured.NestedInt64(workload.Object, ReplicasPath...)
	if !found {
		return 1
	}
	return int(replicas)
}

// scaled returns a number or percentage of replicas; fallback if there is none.
func scaledReplicas(value any, replicas, fallback int, roundUp bool) int {
	var parsed intstr.IntOrString
	switch value := value.(type) {
	case int64:
		parsed = intstr.FromInt32(int32(value)) //nolint:gosec // validated by the API server
	case string:
		parsed = intstr.FromString(value)
	default:
		return fallback
	}
	number, err := intstr.GetScaledValueFromIntOrPercent(&parsed, replicas, roundUp)
	if err != nil {
		return fallback
	}
	return number
}
