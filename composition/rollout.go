package composition

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Pods that read a configuration only at start have to be rolled when it
// changes. Their template gets a mark for that, the digest of the configuration,
// but only once it differs from the one that the workload was made or adopted
// with, which the workload's own metadata remembers. So the mark is a pure
// function of what is in the cluster and what is wanted, whenever the operator
// was stopped, and neither creation nor adoption restarts anything.

// Configurations are ConfigMaps and Secrets whose readers roll, by name, of one
// namespace.
type Configurations map[string]Configuration

// Configuration is what pods read of a ConfigMap or Secret, as digests.
type Configuration struct {
	// Now is the digest of the contents.
	Now string
	// Adopted is the digest that its owner found when it adopted it; empty if the
	// owner made it.
	Adopted string
}

// ConfigurationOf is the configuration of an object with these annotations, and
// contents that are fit for JSON.
func (p Policy) ConfigurationOf(annotations map[string]string, contents any) Configuration {
	return Configuration{Now: digestOf(contents).String(), Adopted: annotations[p.adoptedAnnotation()]}
}

// configurationOf reads a ConfigMap or Secret.
func (p Policy) configurationOf(object *unstructured.Unstructured) Configuration {
	contents, binary := object.Object["data"], object.Object["binaryData"]
	if binary != nil {
		contents = []any{contents, binary}
	}
	return p.ConfigurationOf(object.GetAnnotations(), contents)
}

// rendered are the configurations among children whose readers roll.
func (s Situation) rendered() Configurations {
	configurations := Configurations{}
	for _, child := range s.Children {
		if child.RollReaders {
			object := child.Object
			if live := s.Live[child.Key()]; live != nil && s.Owner.controls(live) && isFrozen(live) {
				object = live // which keeps its contents
			}
			configurations[child.Object.GetName()] = s.Policy.configurationOf(object)
		}
	}
	return configurations
}

// markRollouts writes origin and mark on the workloads among the children. The
// origin is what a live workload remembers. One that does not, because it is
// being adopted or begins to read a configuration, runs with what is live now.
// others are the configurations of other owners. These may have adopted them a
// moment ago, and changed them by that: a workload that is adopted after that still
// runs with what they found.
func (s Situation) markRollouts(others Configurations) {
	wanted := s.rendered()
	before, found := Configurations{}, Configurations{}
	for key, object := range s.Live {
		if _, reads := wanted[key.Name]; reads && (key.Kind == "ConfigMap" || key.Kind == "Secret") {
			before[key.Name] = Configuration{Now: s.Policy.configurationOf(object).Now}
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
		today := wanted.digest(names)
		origin := today
		if live := s.Live[child.Key()]; live != nil {
			origin = live.GetAnnotations()[s.Policy.originAnnotation()]
			switch {
			case origin != "":
			case s.Policy.isOurs(live):
				origin = before.digest(names)
			default:
				origin = found.digest(names)
			}
		}
		setField(child.Object.Object, origin, "metadata", "annotations", s.Policy.originAnnotation())
		if origin != today {
			setField(child.Object.Object, today, "spec", "template", "metadata", "annotations", s.Policy.rollAnnotation())
		}
	}
}

// rollMark is the mark on a workload's pod template; empty for none.
func (p Policy) rollMark(workload *unstructured.Unstructured) string {
	mark, _, _ := unstructured.NestedString(workload.Object, "spec", "template", "metadata", "annotations", p.rollAnnotation())
	return mark
}

// readBy lists which of the configurations the pods of a workload refer to.
func (c Configurations) readBy(workload *unstructured.Unstructured) []string {
	template, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template", "spec")
	var names []string
	collectReferences(template, func(name string) {
		if _, found := c[name]; found && !slices.Contains(names, name) {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names
}

// digest of the named configurations together.
func (c Configurations) digest(names []string) string {
	contents := make(map[string]string, len(names))
	for _, name := range names {
		contents[name] = c[name].Now
	}
	return digestOf(contents).String()
}

// collectReferences finds the names of ConfigMaps and Secrets in a pod spec: in
// volumes, projected volumes, environment variables and their sources.
func collectReferences(value any, found func(name string)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			collectReferences(item, found)
		}
	case map[string]any:
		for key, below := range value {
			fields, _ := below.(map[string]any)
			switch key {
			case "configMap", "configMapRef", "configMapKeyRef", "secretRef", "secretKeyRef":
				if name, isText := fields["name"].(string); isText {
					found(name)
				}
			case "secret":
				for _, field := range []string{"secretName", "name"} {
					if name, isText := fields[field].(string); isText {
						found(name)
					}
				}
			}
			collectReferences(below, found)
		}
	}
}
