package provenance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// configSections are the fields of spec.config by the template's parameters.
var configSections = map[string]string{
	"agent": "agentConfig", "kafka": "kafkaConfig", "scaling": "scalingConfig",
	"tracing": "tracingConfig", "otelAgentEnabled": "tracingConfig", "otelEndpoint": "tracingConfig", "otelProtocol": "tracingConfig",
}

// serviceTypes are the components that parameters for types of Services are of.
var serviceTypes = map[string]string{"schedulerServiceType": v1alpha1.ComponentScheduler, "meshServiceType": v1alpha1.ComponentEnvoy}

// ForRuntime returns the refinement for the objects of a runtime with its configuration: the
// fields of custom resources that parameters of templates, labels, annotations and replicas
// are from.
func ForRuntime(runtime *v1alpha1.SeldonRuntime, config *v1alpha1.SeldonConfig) Refinement {
	r := runtimeSources{
		runtime: runtime, config: config,
		upper: sourceOf(v1alpha1.KindSeldonRuntime, runtime.Namespace, runtime.Name),
		lower: sourceOf(v1alpha1.KindSeldonConfig, config.Namespace, config.Name),
	}
	bare := runtime.DeepCopy()
	bare.Spec.Config = v1alpha1.SeldonConfiguration{}
	for i := range bare.Spec.Overrides {
		bare.Spec.Overrides[i].ServiceType = ""
	}
	none := config.DeepCopy()
	none.Spec.Config = v1alpha1.SeldonConfiguration{}
	r.parameters, r.ofConfig, r.defaults = parameters(runtime, config), parameters(bare, config), parameters(bare, none)
	return r.refine
}

// parameters returns the parameters of the runtime's template; nil if there is no input.
func parameters(runtime *v1alpha1.SeldonRuntime, config *v1alpha1.SeldonConfig) map[string]string {
	input, _, err := templates.Runtime{Runtime: runtime, Config: config}.Input()
	if err != nil {
		return nil
	}
	return input.Templates[0].Parameters
}

type runtimeSources struct {
	runtime                        *v1alpha1.SeldonRuntime
	config                         *v1alpha1.SeldonConfig
	upper, lower                   string // layers
	parameters, ofConfig, defaults map[string]string
}

func (r runtimeSources) refine(ref composition.ObjectRef, path fields.Path, source Source) Source {
	parameter, isParameter := strings.CutPrefix(source.Path, "parameter ")
	switch {
	case source.IsTemplate() && isParameter:
		return r.parameter(parameter, source)
	case source.Layer == r.upper && source.Path == "replicas":
		if i := slices.IndexFunc(r.runtime.Spec.Overrides, func(o v1alpha1.OverrideSpec) bool { return o.Name == ref.Name && o.Replicas != nil }); i >= 0 {
			return source.at(r.upper, fmt.Sprintf("spec.overrides[%d].replicas", i))
		}
		return source.at(r.lower, r.component(ref.Name)+".replicas")
	case source.Layer == r.upper && source.Path == "metadata":
		field, key := metadataKey(path)
		if i := r.componentIndex(ref.Name); i >= 0 {
			component := r.config.Spec.Components[i]
			if has(field, key, component.Labels, component.Annotations) {
				return source.at(r.lower, r.component(ref.Name)+"."+field)
			}
		}
		if has(field, key, r.runtime.Labels, r.runtime.Annotations) {
			return source.at(r.upper, "metadata."+field)
		}
		if has(field, key, r.config.Labels, r.config.Annotations) {
			return source.at(r.lower, "metadata."+field)
		}
		return source.at(Engine, "") // the list of these keys
	case source.Layer == r.lower && strings.HasPrefix(source.Path, "spec.components["):
		return source.at(r.lower, source.Path+"."+workloadField(path))
	case source.Layer == r.upper && strings.HasPrefix(source.Path, "spec.servers["):
		if len(path) > 1 {
			return source.at(r.upper, source.Path+"."+path[1].Field)
		}
	}
	return source
}

// parameter returns the source of the value of a parameter of the runtime's template.
func (r runtimeSources) parameter(name string, source Source) Source {
	section := "serviceConfig"
	if own, has := configSections[name]; has {
		section = own
	}
	switch value, known := r.parameters[name]; {
	case !known:
		return source.at(source.Layer, "") // a name
	case value != r.ofConfig[name]:
		component := serviceTypes[name]
		if i := slices.IndexFunc(r.runtime.Spec.Overrides, func(o v1alpha1.OverrideSpec) bool { return o.Name == component && o.ServiceType != "" }); i >= 0 {
			return source.at(r.upper, fmt.Sprintf("spec.overrides[%d].serviceType", i))
		}
		return source.at(r.upper, "spec.config."+section)
	case value != r.defaults[name]:
		return source.at(r.lower, "spec.config."+section)
	}
	return source.at(source.Layer, "")
}

func (r runtimeSources) componentIndex(name string) int {
	return slices.IndexFunc(r.config.Spec.Components, func(c v1alpha1.ComponentDefn) bool { return c.Name == name })
}

// component returns the path of a component in the configuration.
func (r runtimeSources) component(name string) string {
	return fmt.Sprintf("spec.components[%d]", r.componentIndex(name))
}

// ForServer returns the refinement for the objects of a Server with its configuration. What
// is from the spec of a Server that a runtime has is from spec.servers of the runtime, which
// is nil for none.
func ForServer(server *v1alpha1.Server, config *v1alpha1.ServerConfig, runtime *v1alpha1.SeldonRuntime) Refinement {
	refine := ofServer(server, config)
	if runtime == nil {
		return refine
	}
	layer := sourceOf(v1alpha1.KindServer, server.Namespace, server.Name)
	index := slices.IndexFunc(runtime.Spec.Servers, func(each v1alpha1.RuntimeServer) bool { return each.Name == server.Name })
	return func(ref composition.ObjectRef, path fields.Path, source Source) Source {
		source = refine(ref, path, source)
		if below, inSpec := strings.CutPrefix(source.Path, "spec"); inSpec && source.Layer == layer && index >= 0 {
			return source.at(sourceOf(v1alpha1.KindSeldonRuntime, runtime.Namespace, runtime.Name), fmt.Sprintf("spec.servers[%d]%s", index, below))
		}
		return source
	}
}

// ofServer is [ForServer] for a Server that no runtime has.
func ofServer(server *v1alpha1.Server, config *v1alpha1.ServerConfig) Refinement {
	upper := sourceOf(v1alpha1.KindServer, server.Namespace, server.Name)
	lower := sourceOf(v1alpha1.KindServerConfig, config.Namespace, config.Name)
	return func(_ composition.ObjectRef, path fields.Path, source Source) Source {
		switch {
		case source.IsTemplate():
			return source.at(source.Layer, "") // a name
		case source.Layer == upper && source.Path == "metadata":
			field, key := metadataKey(path)
			if has(field, key, server.Labels, server.Annotations) {
				return source.at(upper, "metadata."+field)
			}
			if has(field, key, config.Labels, config.Annotations) {
				return source.at(lower, "metadata."+field)
			}
			return source.at(Engine, "")
		case source.Layer == upper && source.Path == "spec.capabilities" && len(server.Spec.Capabilities) == 0:
			return source.at(upper, "spec.extraCapabilities")
		case (source.Layer == upper || source.Layer == lower) && source.Path == "spec":
			field := workloadField(path)
			switch field {
			case "strategy":
				field = "deploymentStrategy"
			case "persistentVolumeClaimRetentionPolicy":
				field = "statefulSetPersistentVolumeClaimRetentionPolicy"
			}
			return source.at(source.Layer, "spec."+field)
		}
		return source
	}
}

// at returns a source at the same step.
func (s Source) at(layer, path string) Source {
	return Source{Layer: layer, Path: path, Index: s.Index}
}

// workloadField returns the field of a custom resource that a field of a workload is from.
func workloadField(path fields.Path) string {
	if len(path) > 1 && path[0].Field == "spec" && path[1].Field != "template" {
		return path[1].Field
	}
	return "podSpec"
}

// metadataKey returns labels or annotations and the key of a path that ends with one.
func metadataKey(path fields.Path) (field, key string) {
	if len(path) < 2 {
		return "", ""
	}
	return path[len(path)-2].Field, path[len(path)-1].Field
}

// has reports whether labels or annotations, which field names, have a key.
func has(field, key string, labels, annotations map[string]string) bool {
	values := labels
	if field == "annotations" {
		values = annotations
	}
	_, found := values[key]
	return found
}

// sourceOf returns the name of a layer, as package templates has it.
func sourceOf(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}
