package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/merge"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// Runtime is what a SeldonRuntime expands from.
type Runtime struct {
	Runtime *v1alpha1.SeldonRuntime
	Config  *v1alpha1.SeldonConfig
	Counts  Counts
	// KeptServiceTypes are the types of Services that were adopted, by name. They
	// stay unless the runtime itself asks for another.
	KeptServiceTypes map[string]corev1.ServiceType
}

// RuntimeComponents are the components of a runtime that are not disabled.
type RuntimeComponents struct {
	// Kinds of the components' workloads, by name.
	Kinds map[string]schema.GroupVersionKind
	// Disabled components, sorted.
	Disabled []string
	// UnknownOverrides say which overrides name no component, and where.
	UnknownOverrides []string
	// NamesTooLong are messages on components whose pods may not come up because of
	// the length of their name.
	NamesTooLong []string
	// Bounds of replicas that were lowered.
	Bounds []Bound
}

// AdoptedServiceTypeAnnotation is the key of the annotation on a Service that holds the
// type that the Service had when it was adopted.
const AdoptedServiceTypeAnnotation = OwnDomain + "adopted-service-type"

// accounts are the components of the template that make a ServiceAccount, by
// its name. Each is there if a component's pods run under it.
var accounts = map[string]string{
	"seldon-scheduler": "scheduler-account",
	"hodometer":        "hodometer-account",
}

// schedulerPorts are the scheduler Service's, by the template's parameter.
var schedulerPorts = map[string]string{
	"portXds": "xds", "portScheduler": "scheduler", "portSchedulerMtls": "scheduler-mtls",
	"portAgent": "agent", "portAgentMtls": "agent-mtls", "portDataflow": "dataflow",
}

// Input lays SeldonConfig and SeldonRuntime over the runtime's template. Errors
// name the resource and the field.
func (r Runtime) Input() (composition.Input, RuntimeComponents, error) {
	build := &runtimeBuild{
		Runtime: r,
		config:  over(r.Runtime.Spec.Config, r.Config.Spec.Config),
		base:    sourceOf("SeldonConfig", r.Config.Namespace, r.Config.Name),
		source:  sourceOf("SeldonRuntime", r.Runtime.Namespace, r.Runtime.Name),
		result:  RuntimeComponents{Kinds: map[string]schema.GroupVersionKind{}},
	}
	build.checkOverrides()
	var errs []error
	for i := range r.Config.Spec.Components {
		errs = append(errs, build.component(i))
	}
	for i := range r.Runtime.Spec.Servers {
		errs = append(errs, build.server(i))
	}
	values, err := configurationValues(build.config)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return composition.Input{}, RuntimeComponents{}, err
	}
	build.services(values)
	slices.Sort(build.frameComponents)
	frames := append([]composition.TemplateRef{{
		Folder: "runtime", Components: slices.Compact(build.frameComponents), Parameters: values,
	}}, build.frames...)
	return composition.Input{
		Namespace: r.Runtime.Namespace,
		Templates: frames,
		Layers: []composition.Layer{
			{Source: build.base, Version: versionOf(r.Config), Overlays: func() ([]composition.Overlay, error) {
				return configOverlays(r.Config, build.result.Kinds)
			}},
			{Source: build.source, Overlays: these(&build.overlays)},
		},
		Patches: append(
			patches(build.base, r.Config.Spec.Patches, platformForbidden),
			patches(build.source, r.Runtime.Spec.Patches, tenantForbidden)...),
	}, build.result, nil
}

// runtimeBuild gathers the input of one runtime.
type runtimeBuild struct {
	Runtime
	config          v1alpha1.SeldonConfiguration
	frames          []composition.TemplateRef
	frameComponents []string
	overlays        []composition.Overlay // of the runtime
	base, source    string                // names of the layers
	result          RuntimeComponents
}

// configOverlays are what a SeldonConfig says of its components: nothing in them
// depends on a runtime, so that runtimes share them.
func configOverlays(config *v1alpha1.SeldonConfig, kinds map[string]schema.GroupVersionKind) ([]composition.Overlay, error) {
	var overlays []composition.Overlay
	for i := range config.Spec.Components {
		component := &config.Spec.Components[i]
		kind, enabled := kinds[component.Name]
		if !enabled {
			continue
		}
		content, err := componentContent(component)
		if err != nil {
			return nil, fmt.Errorf("%s.%w", indexed("spec.components", i), err)
		}
		overlays = append(overlays, composition.Overlay{
			Path: indexed("spec.components", i), Kind: kind, Name: component.Name, Content: content,
		})
	}
	return overlays, nil
}

// componentContent is what a SeldonConfig says of a component's workload.
func componentContent(component *v1alpha1.ComponentDefn) (map[string]any, error) {
	pod, err := component.PodSpec.Raw()
	if err != nil {
		return nil, fmt.Errorf("podSpec: %w", err)
	}
	if pod == nil {
		pod = map[string]any{}
	}
	content := podSpec(pod)
	if len(component.VolumeClaimTemplates) > 0 {
		claims, err := claimTemplates(component.VolumeClaimTemplates)
		if err != nil {
			return nil, fmt.Errorf("volumeClaimTemplates: %w", err)
		}
		content["spec"].(map[string]any)["volumeClaimTemplates"] = claims
	}
	return content, nil
}

// overrideOf finds the runtime's override of a component; its index is -1 if
// there is none.
func (r Runtime) overrideOf(component string) (int, v1alpha1.OverrideSpec) {
	// The last one goes, in objects stored before names had to be unique.
	for i, v := range slices.Backward(r.Runtime.Spec.Overrides) {
		if v.Name == component {
			return i, v
		}
	}
	return -1, v1alpha1.OverrideSpec{}
}

func (b *runtimeBuild) checkOverrides() {
	var known []string
	for _, component := range b.Config.Spec.Components {
		known = append(known, component.Name)
	}
	for i, override := range b.Runtime.Runtime.Spec.Overrides {
		if !slices.Contains(known, override.Name) {
			b.result.UnknownOverrides = append(b.result.UnknownOverrides, fmt.Sprintf(
				"%s.name: %s has no component %q; it has %s", indexed("spec.overrides", i), b.base, override.Name, strings.Join(known, ", ")))
		}
	}
}

// component adds the workload of one component of the SeldonConfig.
func (b *runtimeBuild) component(index int) error {
	component := &b.Config.Spec.Components[index]
	overrideIndex, override := b.overrideOf(component.Name)
	if override.Disable {
		b.result.Disabled = append(b.result.Disabled, component.Name)
		slices.Sort(b.result.Disabled)
		return nil
	}
	if component.PodSpec == nil && override.PodSpec == nil {
		return fmt.Errorf("%s: %s.podSpec: is missing, so component %q has no containers; add it or remove the component",
			b.base, indexed("spec.components", index), component.Name)
	}
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
	if len(component.VolumeClaimTemplates) > 0 {
		kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	}
	pod, err := override.PodSpec.Raw()
	if err != nil {
		return fmt.Errorf("%s: %s.podSpec: %w", b.source, indexed("spec.overrides", overrideIndex), err)
	}
	lay := func(path string, content map[string]any) {
		b.overlays = append(b.overlays, composition.Overlay{Path: path, Kind: kind, Name: component.Name, Content: content})
	}
	labels := propagated([]map[string]string{b.Config.Labels, b.Runtime.Runtime.Labels, component.Labels}, v1alpha1.AppNameLabel)
	annotations := propagated([]map[string]string{b.Config.Annotations, b.Runtime.Runtime.Annotations, component.Annotations})
	if len(labels)+len(annotations) > 0 {
		lay("metadata", onWorkload(labels, annotations))
	}
	if pod != nil {
		lay(indexed("spec.overrides", overrideIndex)+".podSpec", podSpec(pod))
	}
	replicas, err := b.replicas(component, override, kind, pod)
	if err != nil {
		return err
	}
	if replicas != nil {
		lay("replicas", map[string]any{"spec": map[string]any{"replicas": *replicas}})
	}
	b.frames = append(b.frames, composition.TemplateRef{
		Folder: "runtime/workloads/" + strings.ToLower(kind.Kind), Parameters: map[string]string{"name": component.Name},
	})
	b.result.Kinds[component.Name] = kind
	if message := nameTooLong(kind, "component", component.Name); message != "" {
		b.result.NamesTooLong = append(b.result.NamesTooLong, message)
	}
	b.needs(component, override)
	return nil
}

// replicas gives those that a layer sets, bounded; nil if none does.
func (b *runtimeBuild) replicas(component *v1alpha1.ComponentDefn, override v1alpha1.OverrideSpec, kind schema.GroupVersionKind, pod map[string]any) (*int64, error) {
	asked := first(override.Replicas, component.Replicas)
	if _, bounded := boundedComponents[component.Name]; asked == nil || !bounded {
		return asked, nil
	}
	content, err := componentContent(component)
	if err != nil {
		return nil, fmt.Errorf("%s: component %q: %w", b.base, component.Name, err)
	}
	workload, err := merge.StrategicMerge(kind, content, podSpec(pod))
	if err != nil {
		return nil, fmt.Errorf("%s: override of %q: %w", b.source, component.Name, err)
	}
	var multiplier *int64
	if pipelines := b.config.ScalingConfig.Pipelines; pipelines != nil {
		multiplier = pipelines.MaxShardCountMultiplier
	}
	replicas, bound, err := boundReplicas(component.Name, *asked, workload, b.Counts, multiplier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.source, err)
	}
	if bound != nil {
		b.result.Bounds = append(b.result.Bounds, *bound)
	}
	return &replicas, nil
}

// needs adds what a component brings along: its Service, and the account that
// its pods run under.
func (b *runtimeBuild) needs(component *v1alpha1.ComponentDefn, override v1alpha1.OverrideSpec) {
	switch component.Name {
	case v1alpha1.ComponentScheduler:
		b.frameComponents = append(b.frameComponents, "scheduler-service")
	case v1alpha1.ComponentEnvoy:
		b.frameComponents = append(b.frameComponents, "mesh-service")
	}
	name := ""
	if component.PodSpec != nil {
		name = component.PodSpec.ServiceAccountName
	}
	if override.PodSpec != nil && override.PodSpec.ServiceAccountName != "" {
		name = override.PodSpec.ServiceAccountName
	}
	if account, found := accounts[name]; found {
		b.frameComponents = append(b.frameComponents, account)
	}
}

// services adds the values that the runtime's Services need.
func (b *runtimeBuild) services(values map[string]string) {
	prefix := value(b.config.ServiceConfig.GrpcServicePrefix)
	if slices.Contains(b.frameComponents, "scheduler-service") {
		for parameter, port := range schedulerPorts {
			values[parameter] = prefix + port
		}
		values["schedulerServiceType"] = b.serviceType(v1alpha1.ComponentScheduler, v1alpha1.SchedulerService, corev1.ServiceTypeClusterIP)
	}
	if slices.Contains(b.frameComponents, "mesh-service") {
		values["portData"] = prefix + "data"
		values["meshServiceType"] = b.serviceType(v1alpha1.ComponentEnvoy, v1alpha1.MeshService, corev1.ServiceTypeLoadBalancer)
	}
}

// serviceType of a component's Service: what the runtime says, else what an
// adopted Service had, else what the SeldonConfig says, else fallback.
func (b *runtimeBuild) serviceType(component, service string, fallback corev1.ServiceType) string {
	_, override := b.overrideOf(component)
	own := value(b.Runtime.Runtime.Spec.Config.ServiceConfig.ServiceType)
	for _, asked := range []corev1.ServiceType{override.ServiceType, own} {
		if asked != "" {
			return string(asked)
		}
	}
	wanted := fallback
	if inherited := value(b.config.ServiceConfig.ServiceType); inherited != "" {
		wanted = inherited
	}
	kept := b.KeptServiceTypes[service]
	if kept == "" {
		return string(wanted)
	}
	b.overlays = append(b.overlays, composition.Overlay{
		Path: "adopted Service", Kind: corev1.SchemeGroupVersion.WithKind("Service"), Name: service,
		Content: map[string]any{"metadata": map[string]any{"annotations": map[string]any{AdoptedServiceTypeAnnotation: string(kept)}}},
	})
	if wanted == corev1.ServiceTypeLoadBalancer {
		return string(kept)
	}
	return string(wanted)
}

// server adds one of the runtime's own Servers.
func (b *runtimeBuild) server(index int) error {
	server := b.Runtime.Runtime.Spec.Servers[index]
	path := indexed("spec.servers", index)
	text, err := json.Marshal(server.ServerSpec)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", b.source, path, err)
	}
	spec := map[string]any{}
	if err := decode(text, &spec); err != nil {
		return fmt.Errorf("%s: %s: %w", b.source, path, err)
	}
	b.frames = append(b.frames, composition.TemplateRef{Folder: "runtime/server", Parameters: map[string]string{"name": server.Name}})
	b.overlays = append(b.overlays, composition.Overlay{
		Path: path, Kind: v1alpha1.GroupVersion.WithKind("Server"), Name: server.Name,
		Content: map[string]any{"spec": spec},
	})
	return nil
}

func sourceOf(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

func indexed(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }
