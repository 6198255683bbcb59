package object

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Policy is what an operator settles once for all its instances.
type Options struct {
	// Manager is the field manager of children: a constant, it is ownership.
	FieldManager string
	// Domain prefixes every label and annotation key that the engine writes, and
	// that patches may not touch: `example.com/`, with the slash.
	KeyPrefix string
	// Carried tells label and annotation keys of tools such as Helm, which an
	// operator before us copied into pod templates. We never render them, and a
	// live template keeps them until it changes for another reason.
	PreservePodTemplateKey func(key string) bool
	// LastApplied is the key of an annotation in which an operator before us
	// remembers what it wrote; empty for none. It tells that this operator has
	// written to a child again after we took it over.
	LegacyLastAppliedAnnotation string
}

// OwnerLabel is the label that every child carries; its value is the owner's
// kind in lower case. Caches of children select by it.
func (p Options) OwnerLabel() string { return p.KeyPrefix + "owner-kind" }

// ownKey tells the keys of metadata that are the engine's.
func (p Options) IsReserved(key string) bool {
	return p.KeyPrefix != "" && strings.HasPrefix(key, p.KeyPrefix)
}

// initialValueHashAnnotation is the key of the annotation on a child with the hash of the
// last value that was sent for its initial-only field. The field is sent again only when
// its desired value has another hash.
func (p Options) InitialValueHashAnnotation() string { return p.KeyPrefix + "initial-value-hash" }

// hashAtCreationAnnotation is the key of the annotation on a workload with the hash of the
// configuration that it was created or adopted with.
func (p Options) HashAtCreationAnnotation() string { return p.KeyPrefix + "config-hash-at-creation" }

// hashAtAdoptionAnnotation is the key of the annotation on an adopted ConfigMap or Secret
// with the hash of its content at adoption.
func (p Options) HashAtAdoptionAnnotation() string { return p.KeyPrefix + "config-hash-at-adoption" }

// configHashAnnotation is the key of the annotation on a pod template with the hash of the
// configuration that its pods read at start. A new value causes a rolling restart.
func (p Options) ConfigHashAnnotation() string { return p.KeyPrefix + "config-hash" }

// pruneDisabled reports whether an annotation keeps an orphan from being pruned.
func (p Options) PruneDisabled(live *unstructured.Unstructured) bool {
	annotations := live.GetAnnotations()
	return annotations[p.KeyPrefix+"prune"] == "disabled" || annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
}

// labels are those that children of owner carry.
func (p Options) Labels(owner Owner) map[string]string {
	return map[string]string{p.OwnerLabel(): strings.ToLower(owner.Kind)}
}

// dressed is the child's object with the owner's label and reference. It shares
// with the child all that is below its metadata: see setField.
func (p Options) WithOwnerMetadata(child Object, owner Owner) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: maps.Clone(child.Object.Object)}
	for key, value := range p.Labels(owner) {
		SetField(object.Object, value, "metadata", "labels", key)
	}
	SetField(object.Object, []any{owner.Reference()}, "metadata", "ownerReferences")
	return object
}

// PropagatedAnnotation is the key of the annotation on a rendered workload that lists
// the keys of its pod template's labels and annotations which come from the owner's
// metadata: `labels:team annotations:cost`, separated by spaces.
func (p Options) PropagatedAnnotation() string { return p.KeyPrefix + "propagated-keys" }

// backupLabel holds the owner's UID.
func (p Options) BackupLabel() string { return p.KeyPrefix + "recreate-backup-for" }
