package composition

import (
	"cmp"
	"maps"
	"slices"
	"strings"

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
type Configurations map[ConfigurationKey]Configuration

// ConfigurationKey names a ConfigMap or Secret: Kind is one of these.
type ConfigurationKey struct {
	Kind, Name string
}

// Configuration is what pods read of a ConfigMap or Secret, as digests.
type Configuration struct {
	// Now is the digest of the contents; empty if the object does not exist.
	Now string
	// Adopted is the digest that its owner found when it adopted it; empty if the
	// owner made it.
	Adopted string
}

// ConfigurationOf is the configuration of a ConfigMap or Secret.
func (p Policy) ConfigurationOf(object client.Object) (Configuration, error) {
	content, err := asUnstructured(object, schema.GroupVersionKind{})
	if err != nil {
		return Configuration{}, err
	}
	return p.configurationOf(content), nil
}

// configurationOf reads a ConfigMap or Secret.
func (p Policy) configurationOf(object *unstructured.Unstructured) Configuration {
	contents, binary := object.Object["data"], object.Object["binaryData"]
	if binary != nil {
		contents = []any{contents, binary}
	}
	return Configuration{Now: digestOf(contents).String(), Adopted: object.GetAnnotations()[p.hashAtAdoptionAnnotation()]}
}

// rendered are the configurations among children whose readers roll. One whose name
// another owner's object has does not count: what pods read is not what we render.
func (s Situation) rendered() Configurations {
	configurations := Configurations{}
	for _, child := range s.Children {
		if !child.RollReaders {
			continue
		}
		key := ConfigurationKey{child.Key().Kind, child.Key().Name}
		live := s.Live[child.Key()]
		switch {
		case live != nil && !s.Policy.mayWrite(live, s.Owner):
			configurations[key] = Configuration{}
		case live != nil && isFrozen(live):
			configurations[key] = s.Policy.configurationOf(live) // which keeps its contents
		default:
			configurations[key] = s.Policy.configurationOf(child.Object)
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
func (s Situation) markRollouts(others Configurations) {
	wanted := s.rendered()
	before, found := maps.Clone(wanted), Configurations{}
	for key, object := range s.Live {
		name := ConfigurationKey{key.Kind, key.Name}
		if _, reads := wanted[name]; reads && key.Group == "" {
			before[name] = Configuration{Now: s.Policy.configurationOf(object).Now}
		}
	}
	maps.Copy(wanted, others)
	maps.Copy(before, others)
	for name, configuration := range before {
		found[name] = Configuration{Now: cmp.Or(configuration.Adopted, configuration.Now)}
	}
	for _, child := range s.Children {
		if !isWorkload(child.Object.GroupVersionKind().GroupKind()) {
			continue
		}
		names := wanted.readBy(child.Object)
		if len(names) == 0 {
			continue
		}
		live := s.Live[child.Key()]
		today, complete := wanted.digest(names)
		var origin, mark string
		if live != nil {
			origin, mark = live.GetAnnotations()[s.Policy.hashAtCreationAnnotation()], s.Policy.rollMark(live)
		}
		switch {
		case !complete:
			if origin == "" && live != nil && !s.Policy.isOurs(live) {
				origin = originAtAdoption
			}
		default:
			switch {
			case live == nil:
				origin = today
			case origin == originAtAdoption, origin == "" && !s.Policy.isOurs(live):
				origin, _ = found.digest(names)
			case origin == "":
				origin, _ = before.digest(names)
			}
			if mark = today; origin == today {
				mark = ""
			}
		}
		if origin != "" {
			setField(child.Object.Object, origin, "metadata", "annotations", s.Policy.hashAtCreationAnnotation())
		}
		if mark != "" {
			setField(child.Object.Object, mark, "spec", "template", "metadata", "annotations", s.Policy.configHashAnnotation())
		}
	}
}

// rollMark is the mark on a workload's pod template; empty for none.
func (p Policy) rollMark(workload *unstructured.Unstructured) string {
	mark, _, _ := unstructured.NestedString(workload.Object, "spec", "template", "metadata", "annotations", p.configHashAnnotation())
	return mark
}

// readBy lists which of the configurations the pods of a workload refer to.
func (c Configurations) readBy(workload *unstructured.Unstructured) []ConfigurationKey {
	pod, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template", "spec")
	read := sets.New[ConfigurationKey]()
	walkPodReferences(pod, func(kind schema.GroupKind, name any) {
		text, _ := name.(string)
		if key := (ConfigurationKey{kind.Kind, text}); kind.Group == "" {
			if _, known := c[key]; known {
				read.Insert(key)
			}
		}
	})
	return slices.SortedFunc(maps.Keys(read), func(a, b ConfigurationKey) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}

// digest of the named configurations together; complete unless one does not exist.
func (c Configurations) digest(names []ConfigurationKey) (digest string, complete bool) {
	contents := make(map[string]string, len(names))
	for _, name := range names {
		now := c[name].Now
		if now == "" {
			return "", false
		}
		contents[name.Kind+"/"+name.Name] = now
	}
	return digestOf(contents).String(), true
}
