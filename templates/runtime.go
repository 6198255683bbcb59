package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	// Bounds of replicas that were lowered.
	Bounds []Bound
}

// KeptServiceTypeAnnotation on a Service holds the type that it had when it was
// adopted.
const KeptServiceTypeAnnotation = OwnDomain + "kept-service-type"

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
	config := over(r.Runtime.Spec.Config, r.Config.Spec.Config)
	build := &runtimeBuild{
		Runtime: r, config: config,
		base:     composition.Layer{Source: sourceOf("SeldonConfig", r.Config.Namespace, r.Config.Name)},
		override: composition.Layer{Source: sourceOf("SeldonRuntime", r.Runtime.Namespace, r.Runtime.Name)},
		result:   RuntimeComponents{Kinds: map[string]schema.GroupVersionKind{}},
	}
	build.checkOverrides()
	var errs []error
	for i := range r.Config.Spec.Components {
		errs = append(errs, build.component(i))
	}
	for i := range r.Runtime.Spec.Servers {
		errs = append(errs, build.server(i))
	}
	values, err := configurationValues(config)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return composition.Input{}, RuntimeComponents{}, err
	}
	build.services(values)
	slices.Sort(build.frameComponents)
	frames := append([]composition.Frame{{
		Template: "runtime", Components: slices.Compact(build.frameComponents), Values: values,
	}}, build.frames...)
	return composition.Input{
		Namespace: r.Runtime.Namespace,
		Frames:    frames,
		Layers:    []composition.Layer{build.base, build.override},
		Patches: append(
			patches(build.base.Source, r.Config.Spec.Patches, platformForbidden),
			patches(build.override.Source, r.Runtime.Spec.Patches, tenantForbidden)...),
	}, build.result, nil
}

// runtimeBuild gathers the input of one runtime.
type runtimeBuild struct {
	Runtime
	config          v1alpha1.SeldonConfiguration
	frames          []composition.Frame
	frameComponents []string
	base, override  composition.Layer
	result          RuntimeComponents
}

// overrideOf finds the runtime's override of a component; its index is -1 if
// there is none.
func (r Runtime) overrideOf(component string) (int, v1alpha1.OverrideSpec) {
	// The last one goes, in objects stored before names had to be unique.
	for i := len(r.Runtime.Spec.Overrides) - 1; i >= 0; i-- {
		if r.Runtime.Spec.Overrides[i].Name == component {
			return i, r.Runtime.Spec.Overrides[i]
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
				"%s.name: %s has no component %q; it has %s", indexed("spec.overrides", i), b.base.Source, override.Name, strings.Join(known, ", ")))
		}
	}
}

// component adds the workload of one component of the SeldonConfig.
func (b *runtimeBuild) component(index int) error {
	component := &b.Config.Spec.Components[index]
	path := indexed("spec.components", index)
	overrideIndex, override := b.overrideOf(component.Name)
	if override.Disable {
		b.result.Disabled = append(b.result.Disabled, component.Name)
		slices.Sort(b.result.Disabled)
		return nil
	}
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
	if len(component.VolumeClaimTemplates) > 0 {
		kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	}
	content, overlay, err := b.podSpecs(component, path, override, indexed("spec.overrides", overrideIndex))
	if err != nil {
		return err
	}
	if kind.Kind == "StatefulSet" {
		claims, err := claimTemplates(component.VolumeClaimTemplates)
		if err != nil {
			return fmt.Errorf("%s: %s.volumeClaimTemplates: %w", b.base.Source, path, err)
		}
		spec, _ := content["spec"].(map[string]any)
		spec["volumeClaimTemplates"] = claims
	}
	if err := b.replicas(component, override, kind, content, overlay); err != nil {
		return err
	}
	labels := propagated([]map[string]string{b.Config.Labels, b.Runtime.Runtime.Labels, component.Labels}, v1alpha1.AppNameLabel)
	annotations := propagated([]map[string]string{b.Config.Annotations, b.Runtime.Runtime.Annotations, component.Annotations})

	b.frames = append(b.frames, composition.Frame{
		Template: "runtime/workloads/" + strings.ToLower(kind.Kind), Values: map[string]string{"name": component.Name},
	})
	b.base.Overlays = append(b.base.Overlays,
		composition.Overlay{Path: path, Kind: kind, Name: component.Name, Content: content},
		composition.Overlay{Path: "metadata", Kind: kind, Name: component.Name, Content: onWorkload(labels, annotations)})
	if overrideIndex >= 0 {
		b.override.Overlays = append(b.override.Overlays, composition.Overlay{
			Path: indexed("spec.overrides", overrideIndex), Kind: kind, Name: component.Name, Content: overlay,
		})
	}
	b.result.Kinds[component.Name] = kind
	b.needs(component, content, overlay)
	return nil
}

// podSpecs are what SeldonConfig and SeldonRuntime say of a component's pods, as
// overlays of its workload.
func (b *runtimeBuild) podSpecs(component *v1alpha1.ComponentDefn, path string, override v1alpha1.OverrideSpec, overridePath string) (content, overlay map[string]any, err error) {
	base, err := component.PodSpec.Raw()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %s.podSpec: %w", b.base.Source, path, err)
	}
	if base == nil && override.PodSpec == nil {
		return nil, nil, fmt.Errorf("%s: %s.podSpec: is missing, so component %q has no containers; add it or remove the component",
			b.base.Source, path, component.Name)
	}
	upper, err := override.PodSpec.Raw()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %s.podSpec: %w", b.override.Source, overridePath, err)
	}
	if base == nil {
		base = map[string]any{}
	}
	if upper == nil {
		upper = map[string]any{}
	}
	return podSpec(base), podSpec(upper), nil
}

// replicas sends those that a layer sets, bounded, and no others.
func (b *runtimeBuild) replicas(component *v1alpha1.ComponentDefn, override v1alpha1.OverrideSpec, kind schema.GroupVersionKind, content, overlay map[string]any) error {
	asked := first(override.Replicas, component.Replicas)
	if asked == nil {
		return nil
	}
	workload, err := composition.Merge(kind, content, overlay)
	if err != nil {
		return fmt.Errorf("%s: override of %q: %w", b.override.Source, component.Name, err)
	}
	var multiplier *int64
	if pipelines := b.config.ScalingConfig.Pipelines; pipelines != nil {
		multiplier = pipelines.MaxShardCountMultiplier
	}
	replicas, bound, err := boundReplicas(component.Name, *asked, workload, b.Counts, multiplier)
	if err != nil {
		return fmt.Errorf("%s: %w", b.override.Source, err)
	}
	if bound != nil {
		b.result.Bounds = append(b.result.Bounds, *bound)
	}
	spec, _ := content["spec"].(map[string]any)
	spec["replicas"] = replicas
	return nil
}

// needs adds what a component brings along: its Service, and the account that
// its pods run under.
func (b *runtimeBuild) needs(component *v1alpha1.ComponentDefn, content, overlay map[string]any) {
	switch component.Name {
	case v1alpha1.ComponentScheduler:
		b.frameComponents = append(b.frameComponents, "scheduler-service")
	case v1alpha1.ComponentEnvoy:
		b.frameComponents = append(b.frameComponents, "mesh-service")
	}
	for _, layer := range []map[string]any{overlay, content} {
		if name := accountOf(layer); name != "" {
			if account, found := accounts[name]; found {
				b.frameComponents = append(b.frameComponents, account)
			}
			return
		}
	}
}

func accountOf(workload map[string]any) string {
	spec, _ := workload["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	name, _ := pod["serviceAccountName"].(string)
	return name
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
	b.base.Overlays = append(b.base.Overlays, composition.Overlay{
		Path: "adopted Service", Kind: corev1.SchemeGroupVersion.WithKind("Service"), Name: service,
		Content: map[string]any{"metadata": map[string]any{"annotations": map[string]any{KeptServiceTypeAnnotation: string(kept)}}},
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
		return fmt.Errorf("%s: %s: %w", b.override.Source, path, err)
	}
	spec := map[string]any{}
	if err := decode(text, &spec); err != nil {
		return fmt.Errorf("%s: %s: %w", b.override.Source, path, err)
	}
	b.frames = append(b.frames, composition.Frame{Template: "runtime/server", Values: map[string]string{"name": server.Name}})
	b.override.Overlays = append(b.override.Overlays, composition.Overlay{
		Path: path, Kind: v1alpha1.GroupVersion.WithKind("Server"), Name: server.Name,
		Content: map[string]any{"spec": spec},
	})
	return nil
}

func sourceOf(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

func indexed(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }
