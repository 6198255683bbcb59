package composition

import (
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

// Configurations are the contents of ConfigMaps and Secrets whose readers roll,
// by name, of one namespace.
type Configurations map[string]any

// rendered are the configurations among children whose readers roll.
func rendered(children []Child) Configurations {
	configurations := Configurations{}
	for _, child := range children {
		if child.RollReaders {
			configurations[child.Object.GetName()] = contentsOf(child.Object)
		}
	}
	return configurations
}

// contentsOf is what pods read of a ConfigMap or Secret.
func contentsOf(configuration *unstructured.Unstructured) any {
	data, binary := configuration.Object["data"], configuration.Object["binaryData"]
	if binary == nil {
		return data
	}
	return []any{data, binary}
}

// markRollouts writes origin and mark on the workloads among the children. The
// origin is what a live workload remembers. One that does not, because it is
// being adopted or begins to read a configuration, runs with what is live now.
// others are the configurations of other owners.
func (s Situation) markRollouts(others Configurations) {
	wanted := rendered(s.Children)
	before := Configurations{}
	for key, object := range s.Live {
		if _, found := wanted[key.Name]; found && (key.Kind == "ConfigMap" || key.Kind == "Secret") {
			before[key.Name] = contentsOf(object)
		}
	}
	maps.Copy(wanted, others)
	maps.Copy(before, others)
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
			if origin = live.GetAnnotations()[s.Policy.originAnnotation()]; origin == "" {
				origin = before.digest(names)
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
	contents := make(map[string]any, len(names))
	for _, name := range names {
		contents[name] = c[name]
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
