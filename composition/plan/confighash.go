package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Pods that read a configuration only when they start must be restarted when it changes.
// Their pod template then gets the hash of the configuration as an annotation, but only
// once that differs from the hash at the workload's creation or adoption, which the
// workload's own metadata has. So the annotation is a pure function of what is live and
// what is rendered, whenever the operator was stopped, and neither creation nor adoption
// restarts pods.

// ConfigHashes are the ConfigMaps and Secrets of a namespace whose changes restart the
// pods that refer to them. One that is expected and does not exist has the zero
// ConfigHash: until it exists, workloads that refer to it keep their annotations.
type ConfigHashes map[ConfigRef]ConfigHash

// ConfigRef names a ConfigMap or a Secret; Kind is one of the two.
type ConfigRef struct {
	Kind, Name string
}

// ConfigHash has hashes of the content of a ConfigMap or Secret.
type ConfigHash struct {
	// Current is the hash of the desired content; empty if the object does not exist.
	Current string
	// AtAdoption is the hash of the content that was live when the object was adopted;
	// empty if the owner created it.
	AtAdoption string
}

// HashConfig returns the hashes of a ConfigMap or Secret.
func HashConfig(options object.Options, obj client.Object) (ConfigHash, error) {
	content, err := cached.FromTyped(obj, schema.GroupVersionKind{})
	if err != nil {
		return ConfigHash{}, err
	}
	return ConfigHashOf(options, content), nil
}

// ConfigHashOf is [HashConfig] of an unstructured object.
func ConfigHashOf(options object.Options, obj *unstructured.Unstructured) ConfigHash {
	contents, binary := obj.Object["data"], obj.Object["binaryData"]
	if binary != nil {
		contents = []any{contents, binary}
	}
	return ConfigHash{Current: object.StableHash(contents).String(), AtAdoption: obj.GetAnnotations()[options.HashAtAdoptionAnnotation()]}
}

// renderedConfigs are the rendered objects whose changes restart pods. One whose name an
// object of another owner has does not count: pods do not read what is rendered.
func (s State) renderedConfigs() ConfigHashes {
	hashes := ConfigHashes{}
	for _, child := range s.Objects {
		if !child.RestartOnChange {
			continue
		}
		ref := ConfigRef{child.Ref().Kind, child.Ref().Name}
		live := s.Live[child.Ref()]
		switch {
		case live != nil && !MayWrite(s.Options, live, s.Owner):
			hashes[ref] = ConfigHash{}
		case live != nil && isFrozen(live):
			hashes[ref] = ConfigHashOf(s.Options, live) // its content cannot change
		default:
			hashes[ref] = ConfigHashOf(s.Options, child.Object)
		}
	}
	return hashes
}

// hashAtAdoption is the hash at creation of a workload that was adopted while, as far as
// the cache showed, a configuration of its pods did not exist: its pods run with the
// content that is live when the configuration is adopted.
const hashAtAdoption = "at-adoption"

// WithConfigHashes returns the objects with the annotations of configurations on workloads.
//
// The hash at creation is what the live workload has. A workload that has none, because it
// is being adopted or did not refer to a configuration before, runs with what is live now.
// External configurations may have been adopted, and changed by that, a moment ago: a
// workload that is adopted after that still runs with their content at adoption. While a
// configuration does not exist, workloads that refer to it keep their annotations.
func (s State) WithConfigHashes() []object.Object {
	desired := s.renderedConfigs()
	live, atAdoption := maps.Clone(desired), ConfigHashes{}
	for ref, obj := range s.Live {
		name := ConfigRef{ref.Kind, ref.Name}
		if _, rendered := desired[name]; rendered && ref.Group == "" {
			live[name] = ConfigHash{Current: ConfigHashOf(s.Options, obj).Current}
		}
	}
	maps.Copy(desired, s.ExternalConfigs)
	maps.Copy(live, s.ExternalConfigs)
	for name, hash := range live {
		atAdoption[name] = ConfigHash{Current: cmp.Or(hash.AtAdoption, hash.Current)}
	}
	objects := slices.Clone(s.Objects)
	for i, child := range objects {
		if !object.IsWorkload(child.Object.GroupVersionKind().GroupKind()) {
			continue
		}
		if names := desired.referencedBy(child.Object); len(names) > 0 {
			objects[i].Object = s.withConfigHash(child, names, desired, live, atAdoption)
		}
	}
	return objects
}

// withConfigHash is [State.WithConfigHashes] for one workload that refers to configurations.
func (s State) withConfigHash(child object.Object, names []ConfigRef, desired, live, atAdoption ConfigHashes) *unstructured.Unstructured {
	workload := s.Live[child.Ref()]
	current, complete := desired.hash(names)
	var atCreation, restart string
	if workload != nil {
		atCreation, restart = workload.GetAnnotations()[s.Options.HashAtCreationAnnotation()], podTemplateHash(s.Options, workload)
	}
	switch {
	case !complete:
		if atCreation == "" && workload != nil && !IsManaged(s.Options, workload) {
			atCreation = hashAtAdoption
		}
	default:
		switch {
		case workload == nil:
			atCreation = current
		case atCreation == hashAtAdoption, atCreation == "" && !IsManaged(s.Options, workload):
			atCreation, _ = atAdoption.hash(names)
		case atCreation == "":
			atCreation, _ = live.hash(names)
		}
		if restart = current; atCreation == current {
			restart = ""
		}
	}
	hashed := &unstructured.Unstructured{Object: maps.Clone(child.Object.Object)}
	if atCreation != "" {
		object.SetField(hashed.Object, atCreation, "metadata", "annotations", s.Options.HashAtCreationAnnotation())
	}
	if restart != "" {
		object.SetField(hashed.Object, restart, "spec", "template", "metadata", "annotations", s.Options.ConfigHashAnnotation())
	}
	return hashed
}

// podTemplateHash is the hash of configurations on a workload's pod template; empty for
// none.
func podTemplateHash(options object.Options, workload *unstructured.Unstructured) string {
	hash, _, _ := unstructured.NestedString(workload.Object, "spec", "template", "metadata", "annotations", options.ConfigHashAnnotation())
	return hash
}

// referencedBy lists the configurations that the pods of a workload refer to.
func (c ConfigHashes) referencedBy(workload *unstructured.Unstructured) []ConfigRef {
	pod, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template", "spec")
	referenced := sets.New[ConfigRef]()
	walkPodReferences(pod, func(kind schema.GroupKind, name any) {
		text, _ := name.(string)
		if key := (ConfigRef{kind.Kind, text}); kind.Group == "" {
			if _, known := c[key]; known {
				referenced.Insert(key)
			}
		}
	})
	return slices.SortedFunc(maps.Keys(referenced), func(a, b ConfigRef) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}

// hash returns one hash of the named configurations; complete unless one does not exist.
func (c ConfigHashes) hash(names []ConfigRef) (hash string, complete bool) {
	contents := make(map[string]string, len(names))
	for _, name := range names {
		current := c[name].Current
		if current == "" {
			return "", false
		}
		contents[name.Kind+"/"+name.Name] = current
	}
	return object.StableHash(contents).String(), true
}
