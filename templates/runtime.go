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
	// AdoptedServiceTypes are the types of Services that were adopted, by name. They are
	// kept unless the runtime itself sets another.
	AdoptedServiceTypes map[string]corev1.ServiceType
}

// RuntimeComponents are the components of a runtime that are not disabled.
type RuntimeComponents struct {
	// Kinds of the components' workloads, by name.
	Kinds map[string]schema.GroupVersionKind
	// Disabled components, sorted.
	Disabled []string
	// UnknownOverrides are messages on overrides of components that do not exist.
	UnknownOverrides []string
	// NamesTooLong are messages on components whose pods may be rejected because of the
	// length of their name.
	NamesTooLong []string
	// ReplicaLimits are the limits that reduced the replicas of a component.
	ReplicaLimits []ReplicaLimit
}

// AdoptedServiceTypeAnnotation is the key of the annotation on a Service that holds the
// type that the Service had when it was adopted.
const AdoptedServiceTypeAnnotation = KeyPrefix + "adopted-service-type"

// accounts are the components of the template that contain a ServiceAccount, by its name.
// Each is used if the pods of a component run under that account.
var accounts = map[string]string{
	"seldon-scheduler": "scheduler-account",
	"hodometer":        "hodometer-account",
}

// schedulerPorts are the ports of the scheduler's Service, by the template's parameter.
var schedulerPorts = map[string]string{
	"portXds": "xds", "portScheduler": "scheduler", "portSchedulerMtls": "scheduler-mtls",
	"portAgent": "agent", "portAgentMtls": "agent-mtls", "portDataflow": "dataflow",
}

// Input merges SeldonConfig and SeldonRuntime over the runtime's template. Errors name
// the resource and the field.
func (r Runtime) Input() (composition.Input, RuntimeComponents, error) {
	build := &runtimeBuilder{
		Runtime: r,
		config:  mergeConfiguration(r.Runtime.Spec.Config, r.Config.Spec.Config),
		base:    sourceOf("SeldonConfig", r.Config.Namespace, r.Config.Name),
		source:  sourceOf("SeldonRuntime", r.Runtime.Namespace, r.Runtime.Name),
		result:  RuntimeComponents{Kinds: map[string]schema.GroupVersionKind{}},
	}
	build.checkOverrides()
	var errs []error
	for i := range r.Config.Spec.Components {
		errs = append(errs, build.addComponent(i))
	}
	for i := range r.Runtime.Spec.Servers {
		errs = append(errs, build.addServer(i))
	}
	values, err := configurationValues(build.config)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return composition.Input{}, RuntimeComponents{}, err
	}
	build.addServiceParameters(values)
	slices.Sort(build.templateComponents)
	refs := append([]composition.TemplateRef{{
		Folder: "runtime", Components: slices.Compact(build.templateComponents), Parameters: values,
	}}, build.templates...)
	return composition.Input{
		Namespace: r.Runtime.Namespace,
		Templates: refs,
		Layers: []composition.Layer{
			{Source: build.base, Version: versionOf(r.Config), Overlays: func() ([]composition.Overlay, error) {
				return configOverlays(r.Config, build.result.Kinds)
			}},
			{Source: build.source, Overlays: staticOverlays(&build.overlays)},
		},
		Patches: append(
			patches(build.base, r.Config.Spec.Patches, platformDeniedKinds),
			patches(build.source, r.Runtime.Spec.Patches, tenantDeniedKinds)...),
	}, build.result, nil
}

// runtimeBuilder builds the input of one runtime.
type runtimeBuilder struct {
	Runtime
	config             v1alpha1.SeldonConfiguration
	templates          []composition.TemplateRef
	templateComponents []string
	overlays           []composition.Overlay // of the runtime
	base, source       string                // names of the layers
	result             RuntimeComponents
}

// configOverlays returns the overlays of a SeldonConfig for its components. They do not
// depend on a runtime, so that runtimes share them.
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
			return nil, fmt.Errorf("%s.%w", fieldPath("spec.components", i), err)
		}
		overlays = append(overlays, composition.Overlay{
			Path: fieldPath("spec.components", i), Kind: kind, Name: component.Name, Content: content,
		})
	}
	return overlays, nil
}

// componentContent returns the content of a SeldonConfig for the workload of a component.
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

// overrideOf returns the runtime's override of a component and its index, -1 if there is
// none.
func (r Runtime) overrideOf(component string) (int, v1alpha1.OverrideSpec) {
	// The last one takes precedence, in objects stored before names had to be unique.
	for i, v := range slices.Backward(r.Runtime.Spec.Overrides) {
		if v.Name == component {
			return i, v
		}
	}
	return -1, v1alpha1.OverrideSpec{}
}

// checkOverrides reports overrides of components that the SeldonConfig does not have.
func (b *runtimeBuilder) checkOverrides() {
	var known []string
	for _, component := range b.Config.Spec.Components {
		known = append(known, component.Name)
	}
	for i, override := range b.Runtime.Runtime.Spec.Overrides {
		if !slices.Contains(known, override.Name) {
			b.result.UnknownOverrides = append(b.result.UnknownOverrides, fmt.Sprintf(
				"%s.name: %s has no component %q, and the override has no effect; correct the name to one of %s, or remove the override", fieldPath("spec.overrides", i), b.base, override.Name, strings.Join(known, ", ")))
		}
	}
}

// addComponent adds the workload of one component of the SeldonConfig.
func (b *runtimeBuilder) addComponent(index int) error {
	component := &b.Config.Spec.Components[index]
	overrideIndex, override := b.overrideOf(component.Name)
	if override.Disable {
		b.result.Disabled = append(b.result.Disabled, component.Name)
		slices.Sort(b.result.Disabled)
		return nil
	}
	if component.PodSpec == nil && override.PodSpec == nil {
		return fmt.Errorf("%s: %s.podSpec: is missing, so component %q has no containers; add it or remove the component",
			b.base, fieldPath("spec.components", index), component.Name)
	}
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
	if len(component.VolumeClaimTemplates) > 0 {
		kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	}
	pod, err := override.PodSpec.Raw()
	if err != nil {
		return fmt.Errorf("%s: %s.podSpec: %w", b.source, fieldPath("spec.overrides", overrideIndex), err)
	}
	addOverlay := func(path string, content map[string]any) {
		b.overlays = append(b.overlays, composition.Overlay{Path: path, Kind: kind, Name: component.Name, Content: content})
	}
	labels := propagatedMetadata([]map[string]string{b.Config.Labels, b.Runtime.Runtime.Labels, component.Labels}, v1alpha1.AppNameLabel)
	annotations := propagatedMetadata([]map[string]string{b.Config.Annotations, b.Runtime.Runtime.Annotations, component.Annotations})
	if len(labels)+len(annotations) > 0 {
		addOverlay("metadata", workloadMetadata(labels, annotations))
	}
	if pod != nil {
		addOverlay(fieldPath("spec.overrides", overrideIndex)+".podSpec", podSpec(pod))
	}
	replicas, err := b.replicas(component, override, kind, pod)
	if err != nil {
		return err
	}
	if replicas != nil {
		addOverlay("replicas", map[string]any{"spec": map[string]any{"replicas": *replicas}})
	}
	b.templates = append(b.templates, composition.TemplateRef{
		Folder: "runtime/workloads/" + strings.ToLower(kind.Kind), Parameters: map[string]string{"name": component.Name},
	})
	b.result.Kinds[component.Name] = kind
	if message := nameTooLong(kind, "component", component.Name); message != "" {
		b.result.NamesTooLong = append(b.result.NamesTooLong, message)
	}
	b.addDependencies(component, override)
	return nil
}

// replicas returns the replicas that a layer sets, after limits; nil if no layer sets
// them.
func (b *runtimeBuilder) replicas(component *v1alpha1.ComponentDefn, override v1alpha1.OverrideSpec, kind schema.GroupVersionKind, pod map[string]any) (*int64, error) {
	requested := firstNonNil(override.Replicas, component.Replicas)
	if _, limited := limitedComponents[component.Name]; requested == nil || !limited {
		return requested, nil
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
	replicas, limit, err := limitReplicas(component.Name, *requested, workload, b.Counts, multiplier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.source, err)
	}
	if limit != nil {
		b.result.ReplicaLimits = append(b.result.ReplicaLimits, *limit)
	}
	return &replicas, nil
}

// addDependencies adds what a component depends on: its Service, and the ServiceAccount
// that its pods run under.
func (b *runtimeBuilder) addDependencies(component *v1alpha1.ComponentDefn, override v1alpha1.OverrideSpec) {
	switch component.Name {
	case v1alpha1.ComponentScheduler:
		b.templateComponents = append(b.templateComponents, "scheduler-service")
	case v1alpha1.ComponentEnvoy:
		b.templateComponents = append(b.templateComponents, "mesh-service")
	}
	name := ""
	if component.PodSpec != nil {
		name = component.PodSpec.ServiceAccountName
	}
	if override.PodSpec != nil && override.PodSpec.ServiceAccountName != "" {
		name = override.PodSpec.ServiceAccountName
	}
	if account, found := accounts[name]; found {
		b.templateComponents = append(b.templateComponents, account)
	}
}

// addServiceParameters adds the parameters of the runtime's Services.
func (b *runtimeBuilder) addServiceParameters(values map[string]string) {
	prefix := deref(b.config.ServiceConfig.GrpcServicePrefix)
	if slices.Contains(b.templateComponents, "scheduler-service") {
		for parameter, port := range schedulerPorts {
			values[parameter] = prefix + port
		}
		values["schedulerServiceType"] = b.serviceType(v1alpha1.ComponentScheduler, v1alpha1.SchedulerService, corev1.ServiceTypeClusterIP)
	}
	if slices.Contains(b.templateComponents, "mesh-service") {
		values["portData"] = prefix + "data"
		values["meshServiceType"] = b.serviceType(v1alpha1.ComponentEnvoy, v1alpha1.MeshService, corev1.ServiceTypeLoadBalancer)
	}
}

// serviceType returns the type of a component's Service: that of the runtime, else that
// of an adopted Service, else that of the SeldonConfig, else fallback.
func (b *runtimeBuilder) serviceType(component, service string, fallback corev1.ServiceType) string {
	_, override := b.overrideOf(component)
	own := deref(b.Runtime.Runtime.Spec.Config.ServiceConfig.ServiceType)
	for _, requested := range []corev1.ServiceType{override.ServiceType, own} {
		if requested != "" {
			return string(requested)
		}
	}
	desired := fallback
	if inherited := deref(b.config.ServiceConfig.ServiceType); inherited != "" {
		desired = inherited
	}
	adopted := b.AdoptedServiceTypes[service]
	if adopted == "" {
		return string(desired)
	}
	b.overlays = append(b.overlays, composition.Overlay{
		Path: "adopted Service", Kind: corev1.SchemeGroupVersion.WithKind("Service"), Name: service,
		Content: map[string]any{"metadata": map[string]any{"annotations": map[string]any{AdoptedServiceTypeAnnotation: string(adopted)}}},
	})
	if desired == corev1.ServiceTypeLoadBalancer {
		return string(adopted)
	}
	return string(desired)
}

// addServer adds one of the runtime's own Servers.
func (b *runtimeBuilder) addServer(index int) error {
	server := b.Runtime.Runtime.Spec.Servers[index]
	path := fieldPath("spec.servers", index)
	text, err := json.Marshal(server.ServerSpec)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", b.source, path, err)
	}
	spec := map[string]any{}
	if err := decode(text, &spec); err != nil {
		return fmt.Errorf("%s: %s: %w", b.source, path, err)
	}
	b.templates = append(b.templates, composition.TemplateRef{Folder: "runtime/server", Parameters: map[string]string{"name": server.Name}})
	b.overlays = append(b.overlays, composition.Overlay{
		Path: path, Kind: v1alpha1.GroupVersion.WithKind("Server"), Name: server.Name,
		Content: map[string]any{"spec": spec},
	})
	return nil
}

// sourceOf returns the name of a layer. A configuration in a file may have no namespace.
func sourceOf(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

// fieldPath returns the path of an item of a list, such as spec.servers[0].
func fieldPath(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }
