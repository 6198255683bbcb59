package object

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Options are the settings that are constant for all instances of an operator.
type Options struct {
	// FieldManager is the field manager of child objects. It must never change, because
	// field ownership depends on it.
	FieldManager string
	// KeyPrefix is the prefix, with the slash, of all label and annotation keys that the
	// engine sets and that patches must not change: `example.com/`.
	KeyPrefix string
	// PreservePodTemplateKey reports whether key is a label or annotation key of a tool such
	// as Helm that a previous operator copied into pod templates. Such keys are not rendered;
	// they stay in a live pod template until it changes for another reason. nil means none.
	PreservePodTemplateKey func(key string) bool
	// LegacyLastAppliedAnnotation is the key of the annotation in which a previous operator
	// stores the configuration that it last applied; empty for none. If it is present on an
	// adopted object, that operator has written to the object since its adoption.
	LegacyLastAppliedAnnotation string
	// ManifestManagers are field managers of programs that apply manifests which the engine
	// rendered, with the owner label, in a cluster without the operator. An object without a
	// controller on which one of them has set the owner label is adopted.
	ManifestManagers []string
}

// OwnerLabel returns the key of the label on every child object. Its value is the owner's
// kind in lower case. Caches of child objects select by it.
func (o Options) OwnerLabel() string { return o.KeyPrefix + "owner-kind" }

// IsReserved reports whether a label or annotation key belongs to the engine.
func (o Options) IsReserved(key string) bool {
	return o.KeyPrefix != "" && strings.HasPrefix(key, o.KeyPrefix)
}

// InitialValueHashAnnotation returns the key of the annotation on a child object with the
// hash of the last value that was sent for its initial-only field. The field is sent again
// only when its desired value has another hash.
func (o Options) InitialValueHashAnnotation() string { return o.KeyPrefix + "initial-value-hash" }

// HashAtCreationAnnotation returns the key of the annotation on a workload with the hash of
// the configuration that it was created or adopted with.
func (o Options) HashAtCreationAnnotation() string { return o.KeyPrefix + "config-hash-at-creation" }

// HashAtAdoptionAnnotation returns the key of the annotation on an adopted ConfigMap or
// Secret with the hash of its content at adoption.
func (o Options) HashAtAdoptionAnnotation() string { return o.KeyPrefix + "config-hash-at-adoption" }

// ConfigHashAnnotation returns the key of the annotation on a pod template with the hash of
// the configuration that its pods read at start. A new value causes a rolling restart.
func (o Options) ConfigHashAnnotation() string { return o.KeyPrefix + "config-hash" }

// PausedAnnotation is the key of the annotation on an owner that, with the value "true",
// prevents writes to its objects.
func (o Options) PausedAnnotation() string { return o.KeyPrefix + "paused" }

// AllowRestartAnnotation is the key of the annotation on an owner that, with the value
// "true", allows that workloads which are adopted restart their pods.
func (o Options) AllowRestartAnnotation() string { return o.KeyPrefix + "allow-restart" }

// ApplyMetadataAnnotation is the key of the annotation on an owner that, with the value
// "true", applies its labels and annotations to pods at once.
func (o Options) ApplyMetadataAnnotation() string { return o.KeyPrefix + "apply-metadata" }

// PruneDisabled reports whether an annotation excludes an orphan from pruning.
func (o Options) PruneDisabled(live *unstructured.Unstructured) bool {
	annotations := live.GetAnnotations()
	return annotations[o.KeyPrefix+"prune"] == "disabled" || annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
}

// Labels returns the labels of the child objects of owner.
func (o Options) Labels(owner Owner) map[string]string {
	return map[string]string{o.OwnerLabel(): strings.ToLower(owner.Kind)}
}

// WithOwnerMetadata returns the object of child with the owner's label and controller
// reference. It shares everything below metadata with child; see [SetField].
func (o Options) WithOwnerMetadata(child Object, owner Owner) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: maps.Clone(child.Object.Object)}
	for key, value := range o.Labels(owner) {
		SetField(object.Object, value, "metadata", "labels", key)
	}
	SetField(object.Object, []any{owner.reference()}, "metadata", "ownerReferences")
	return object
}

// PropagatedAnnotation returns the key of the annotation on a rendered workload that lists
// the labels and annotations of its pod template that are copied from the owner's metadata:
// `labels:team annotations:cost`, separated by spaces.
func (o Options) PropagatedAnnotation() string { return o.KeyPrefix + "propagated-keys" }

// BackupLabel returns the key of the label on the backup of a StatefulSet. Its value is the
// owner's UID.
func (o Options) BackupLabel() string { return o.KeyPrefix + "recreate-backup-for" }
