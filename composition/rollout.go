package composition

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
			configurations[child.Object.GetName()] = child.Object.Object["data"]
		}
	}
	return configurations
}

// markRollouts writes origin and mark on the workloads among children. wanted
// are the configurations as they will be; origin tells the digest that a live
// workload remembers, or, for one that is being adopted, that of the
// configuration its pods were started with.
func (p Policy) markRollouts(children []Child, wanted Configurations, origin func(key Key, names []string) string) {
	for _, child := range children {
		if !isWorkload(child.Key().GroupKind()) {
			continue
		}
		names := wanted.readBy(child.Object)
		if len(names) == 0 {
			continue
		}
		today := wanted.digest(names)
		from := origin(child.Key(), names)
		if from == "" {
			from = today
		}
		annotate(child.Object, p.originAnnotation(), from, "metadata", "annotations")
		if from != today {
			annotate(child.Object, p.rollAnnotation(), today, "spec", "template", "metadata", "annotations")
		}
	}
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

func annotate(object *unstructured.Unstructured, key, value string, path ...string) {
	annotations, _, _ := unstructured.NestedStringMap(object.Object, path...)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	_ = unstructured.SetNestedStringMap(object.Object, annotations, path...)
}

var configMapKind = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
