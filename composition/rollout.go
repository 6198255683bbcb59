package composition

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pods that read a configuration only at start have to be rolled when it
// changes. Their template gets a mark for that, the digest of the configuration,
// but only once it differs from the one that the workload was made or adopted
// with, which the workload's own metadata remembers. So the mark is a pure
// function of what is in the cluster and what is wanted, whenever the operator
// was stopped, and neither creation nor adoption restarts anything.

// Configurations are the ConfigMaps and Secrets of a namespace whose readers roll.
// One that is expected and does not exist has the zero Configuration: until it is
// back, its readers stay as they are.
type ConfigHashes map[ConfigRef]ConfigHash

// ConfigurationKey names a ConfigMap or Secret: Kind is one of these.
type ConfigRef struct {
	Kind, Name string
}

// Configuration is what pods read of a ConfigMap or Secret, as digests.
type ConfigHash struct {
	// Now is the digest of the contents; empty if the object does not exist.
	Current string
	// Adopted is the digest that its owner found when it adopted it; empty if the
	// owner made it.
	AtAdoption string
}

// ConfigurationOf is the configuration of a ConfigMap or Secret.
func HashConfig(options object.Options, obj client.Object) (ConfigHash, error) {
	content, err := cached.FromTyped(obj, schema.GroupVersionKind{})
	if err != nil {
		return ConfigHash{}, err
	}
	return hashConfig(options, content), nil
}

// configurationOf reads a ConfigMap or Secret.
func hashConfig(options object.Options, obj *unstructured.Unstructured) ConfigHash {
	contents, binary := obj.Object["data"], obj.Object["binaryData"]
	if binary != nil {
		contents = []any{contents, binary}
	}
	return ConfigHash{Current: object.StableHash(contents).String(), AtAdoption: obj.GetAnnotations()[options.HashAtAdoptionAnnotation()]}
}

// rendered are the configurations among children whose readers roll. One whose name
// another owner's object has does not count: what pods read is not what we render.
func (s State) rendered() ConfigHashes {
	configurations := ConfigHashes{}
	for _, child := range s.Objects {
		if !child.RestartOnChange {
			continue
		}
		key := ConfigRef{child.Ref().Kind, child.Ref().Name}
		live := s.Live[child.Ref()]
		switch {
		case live != nil && !mayWrite(s.Options, live, s.Owner):
			configurations[key] = ConfigHash{}
		case live != nil && isFrozen(live):
			configurations[key] = hashConfig(s.Options, live) // which keeps its contents
		default:
			configurations[key] = hashConfig(s.Options, child.Object)
		}
	}
	return configurations
}

// originAtAdoption is the origin of a workload that was adopted while a
// configuration of its pods did not exist, as far as the cache showed: they run with
// what the configuration's own adoption finds.
const originAtAdoption = "at-adoption"

// markRollouts writes origin and mark on the workloads among the children. The
// origin is what a live workload remembers. One that does not, because it is
// being adopted or begins to read a configuration, runs with what is live now.
// others are the configurations of other owners. These may have adopted them a
// moment ago, and changed them by that: a workload that is adopted after that still
// runs with what they found. While a configuration does not exist, its readers keep
// origin and mark.
func (s State) markRollouts(others ConfigHashes) {
	wanted := s.rendered()
	before, found := maps.Clone(wanted), ConfigHashes{}
	for key, obj := range s.Live {
		name := ConfigRef{key.Kind, key.Name}
		if _, reads := wanted[name]; reads && key.Group == "" {
			before[name] = ConfigHash{Current: hashConfig(s.Options, obj).Current}
		}
	}
	maps.Copy(wanted, others)
	maps.Copy(before, others)
	for name, configuration := range before {
		found[name] = ConfigHash{Current: cmp.Or(configuration.AtAdoption, configuration.Current)}
	}
	for _, child := range s.Objects {
		if !object.IsWorkload(child.Object.GroupVersionKind().GroupKind()) {
			continue
		}
		names := wanted.readBy(child.Object)
		if len(names) == 0 {
			continue
		}
		live := s.Live[child.Ref()]
		today, complete := wanted.digest(names)
		var origin, mark string
		if live != nil {
			origin, mark = live.GetAnnotations()[s.Options.HashAtCreationAnnotation()], rollMark(s.Options, live)
		}
		switch {
		case !complete:
			if origin == "" && live != nil && !isOurs(s.Options, live) {
				origin = originAtAdoption
			}
		default:
			switch {
			case live == nil:
				origin = today
			case origin == originAtAdoption, origin == "" && !isOurs(s.Options, live):
				origin, _ = found.digest(names)
			case origin == "":
				origin, _ = before.digest(names)
			}
			if mark = today; origin == today {
				mark = ""
			}
		}
		if origin != "" {
			object.SetField(child.Object.Object, origin, "metadata", "annotations", s.Options.HashAtCreationAnnotation())
		}
		if mark != "" {
			object.SetField(child.Object.Object, mark, "spec", "template", "metadata", "annotations", s.Options.ConfigHashAnnotation())
		}
	}
}

// rollMark is the mark on a workload's pod template; empty for none.
func rollMark(options object.Options, workload *unstructured.Unstructured) string {
	mark, _, _ := unstructured.NestedString(workload.Object, "spec", "template", "metadata", "annotations", options.ConfigHashAnnotation())
	return mark
}

// readBy lists which of the configurations the pods of a workload refer to.
func (c ConfigHashes) readBy(workload *unstructured.Unstructured) []ConfigRef {
	pod, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template", "spec")
	read := sets.New[ConfigRef]()
	walkPodReferences(pod, func(kind schema.GroupKind, name any) {
		text, _ := name.(string)
		if key := (ConfigRef{kind.Kind, text}); kind.Group == "" {
			if _, known := c[key]; known {
				read.Insert(key)
			}
		}
	})
	return slices.SortedFunc(maps.Keys(read), func(a, b ConfigRef) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}

// digest of the named configurations together; complete unless one does not exist.
func (c ConfigHashes) digest(names []ConfigRef) (digest string, complete bool) {
	contents := make(map[string]string, len(names))
	for _, name := range names {
		now := c[name].Current
		if now == "" {
			return "", false
		}
		contents[name.Kind+"/"+name.Name] = now
	}
	return object.StableHash(contents).String(), true
}
