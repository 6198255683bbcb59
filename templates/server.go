package templates

import (
	"fmt"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/merge"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// Server is what a Server expands from.
type Server struct {
	Server *v1alpha1.Server
	Config *v1alpha1.ServerConfig
	// UseDeployment makes the Server expand into a Deployment instead of a StatefulSet and a
	// Service per replica.
	UseDeployment bool
	// MaxReplicas is the maximum number of replicas of a Server; 0 means
	// DefaultMaxReplicas.
	MaxReplicas int64
	// LiveReplicas is spec.replicas of the live workload, which is kept if the Server
	// requests more than MaxReplicas; nil if there is no workload.
	LiveReplicas *int64
	// ObservedReplicas is status.replicas of the live StatefulSet. The Service of a
	// replica outlives its pod.
	ObservedReplicas int64
}

// ServerWarnings describe what a Server requests and does not get.
type ServerWarnings struct {
	// FieldsIgnored has an entry for each field that has no effect.
	FieldsIgnored []string
	// ReplicasLimited is why there are fewer replicas than the Server requests; empty if
	// there are as many.
	ReplicasLimited string
	// NameTooLong is why pods may be rejected; empty if the name is short enough.
	NameTooLong string
}

// Kind returns the kind of the Server's workload.
func (s Server) Kind() schema.GroupVersionKind {
	if s.UseDeployment {
		return appsv1.SchemeGroupVersion.WithKind("Deployment")
	}
	return appsv1.SchemeGroupVersion.WithKind("StatefulSet")
}

// Selector returns the label selector of a Server's pods.
func Selector(server string) string { return v1alpha1.ServerNameLabel + "=" + server }

// Input merges ServerConfig and Server over the server's template. Errors name the
// resource and the field.
func (s Server) Input() (input composition.Input, warnings ServerWarnings, err error) {
	base := sourceOf("ServerConfig", s.Config.Namespace, s.Config.Name)
	source := sourceOf("Server", s.Server.Namespace, s.Server.Name)
	replicas, limited, err := s.replicas()
	if err != nil {
		return composition.Input{}, ServerWarnings{}, fmt.Errorf("%s: spec: %w", source, err)
	}
	override, err := s.serverContent(replicas)
	if err != nil {
		return composition.Input{}, ServerWarnings{}, fmt.Errorf("%s: %w", source, err)
	}
	on := func(path string, content map[string]any) composition.Overlay {
		return composition.Overlay{Path: path, Kind: s.Kind(), Name: s.Server.Name, Content: content}
	}
	overlays := []composition.Overlay{on("spec", override)}
	fixed := []string{v1alpha1.AppNameLabel, v1alpha1.ServerNameLabel}
	labels := propagatedMetadata([]map[string]string{s.Config.Labels, s.Server.Labels}, fixed...)
	annotations := propagatedMetadata([]map[string]string{s.Config.Annotations, s.Server.Annotations})
	if len(labels)+len(annotations) > 0 {
		overlays = append(overlays, on("metadata", workloadMetadata(labels, annotations)))
	}
	capabilities, ignored, err := s.capabilities(override)
	if err != nil {
		return composition.Input{}, ServerWarnings{}, fmt.Errorf("%s: spec.podSpec: %w", source, err)
	}
	if capabilities != nil {
		overlays = append(overlays, on("spec.capabilities", capabilities))
	}
	return composition.Input{
		Namespace: s.Server.Namespace,
		Templates: s.templates(replicas),
		Layers: []composition.Layer{
			{Source: base, Version: versionOf(s.Config), Overlays: func() ([]composition.Overlay, error) {
				content, err := s.configContent()
				return []composition.Overlay{on("spec", content)}, err
			}},
			{Source: source, Overlays: staticOverlays(&overlays)},
		},
		Patches: patches(source, s.Server.Spec.Patches, tenantDeniedKinds),
	}, ServerWarnings{FieldsIgnored: ignored, ReplicasLimited: limited, NameTooLong: nameTooLong(s.Kind(), "Server", s.Server.Name)}, nil
}

// templates returns the workload and, with a StatefulSet, a Service for each replica that
// is desired or still exists. Desired replicas count up to the limit only: for a Server
// above it they are those of the StatefulSet, which anyone with the permission to edit it
// may have set.
func (s Server) templates(replicas int64) []composition.TemplateRef {
	frames := []composition.TemplateRef{{
		Folder: "server/" + strings.ToLower(s.Kind().Kind), Parameters: map[string]string{"name": s.Server.Name},
	}}
	if s.UseDeployment {
		return frames
	}
	services := max(min(replicas, s.maxReplicas()), s.ObservedReplicas)
	for ordinal := range min(services, v1alpha1.MaxReplicas) {
		frames = append(frames, composition.TemplateRef{Folder: "server/replica", Parameters: map[string]string{
			"server": s.Server.Name, "replica": fmt.Sprintf("%s-%d", s.Server.Name, ordinal),
		}})
	}
	return frames
}

// configContent returns the content of the ServerConfig for the workload.
func (s Server) configContent() (map[string]any, error) {
	pod, err := s.Config.Spec.PodSpec.Raw()
	if err != nil {
		return nil, fmt.Errorf("spec.podSpec: %w", err)
	}
	content := podSpec(pod)
	if s.UseDeployment {
		return content, nil
	}
	claims, err := claimTemplates(s.Config.Spec.VolumeClaimTemplates)
	if err != nil {
		return nil, fmt.Errorf("spec.volumeClaimTemplates: %w", err)
	}
	if len(claims) > 0 {
		content["spec"].(map[string]any)["volumeClaimTemplates"] = claims
	}
	return content, nil
}

// serverContent returns the content of the Server for the workload. Replicas are always
// sent: the Server is what scales.
func (s Server) serverContent(replicas int64) (map[string]any, error) {
	pod, err := s.Server.Spec.PodSpec.Raw()
	if err != nil {
		return nil, fmt.Errorf("spec.podSpec: %w", err)
	}
	if pod == nil {
		pod = map[string]any{}
	}
	content := podSpec(pod)
	spec := content["spec"].(map[string]any)
	spec["replicas"] = replicas
	field, desired := "persistentVolumeClaimRetentionPolicy", any(s.Server.Spec.StatefulSetPersistentVolumeClaimRetentionPolicy)
	if s.UseDeployment {
		field, desired = "strategy", s.Server.Spec.DeploymentStrategy
	}
	text, err := json.Marshal(desired)
	if err != nil {
		return nil, fmt.Errorf("spec.%s: %w", field, err)
	}
	settings := map[string]any{}
	if err := decode(text, &settings); err != nil {
		return nil, fmt.Errorf("spec.%s: %w", field, err)
	}
	if len(settings) > 0 {
		spec[field] = settings
	}
	return content, nil
}

// capabilities returns an overlay that sets the environment variable for capabilities in
// every container that has it: to spec.capabilities, or to its value followed by
// spec.extraCapabilities. A value from elsewhere, such as a ConfigMap, cannot be extended
// and is kept; warnings name fields that have no effect.
func (s Server) capabilities(override map[string]any) (overlay map[string]any, warnings []string, err error) {
	capabilities, extraCapabilities := s.Server.Spec.Capabilities, s.Server.Spec.ExtraCapabilities
	if len(capabilities) == 0 && len(extraCapabilities) == 0 {
		return nil, nil, nil
	}
	if len(capabilities) > 0 && len(extraCapabilities) > 0 {
		warnings = append(warnings, "spec.extraCapabilities: has no effect together with spec.capabilities; move its entries there")
	}
	content, err := s.configContent()
	if err != nil {
		return nil, nil, err
	}
	merged, err := merge.StrategicMerge(s.Kind(), content, override)
	if err != nil {
		return nil, nil, err
	}
	field := "spec.capabilities"
	if len(capabilities) == 0 {
		field = "spec.extraCapabilities"
	}
	var changed []any
	exists := false
	containers, _, _ := unstructured.NestedSlice(merged, "spec", "template", "spec", "containers")
	for _, container := range containers {
		fields, _ := container.(map[string]any)
		variable := environment(fields, v1alpha1.ServerCapabilitiesEnv)
		if variable == nil {
			continue
		}
		exists = true
		all := capabilities
		if len(all) == 0 {
			if variable["valueFrom"] != nil {
				warnings = append(warnings, fmt.Sprintf("%s: container %v takes %s from valueFrom, to which nothing can be added; set spec.capabilities, or a value in ServerConfig %s",
					field, fields["name"], v1alpha1.ServerCapabilitiesEnv, s.Config.Name))
				continue
			}
			all = extraCapabilities
			if current, _ := variable["value"].(string); current != "" {
				all = append([]string{current}, extraCapabilities...)
			}
		}
		changed = append(changed, map[string]any{
			"name": fields["name"],
			"env":  []any{map[string]any{"name": v1alpha1.ServerCapabilitiesEnv, "value": strings.Join(all, ",")}},
		})
	}
	if !exists {
		warnings = append(warnings, fmt.Sprintf("%s: no container of ServerConfig %s has the environment variable %s, so that the capabilities have no effect; add the variable to a container, or remove %s",
			field, s.Config.Name, v1alpha1.ServerCapabilitiesEnv, field))
	}
	if len(changed) == 0 {
		return nil, warnings, nil
	}
	return podSpec(map[string]any{"containers": changed}), warnings, nil
}

// environment returns a variable of a container; nil if there is none of that name.
func environment(container map[string]any, name string) map[string]any {
	env, _, _ := unstructured.NestedSlice(container, "env")
	for _, entry := range env {
		if variable, _ := entry.(map[string]any); variable["name"] == name {
			return variable
		}
	}
	return nil
}

// decode decodes JSON with numbers as int64 or float64.
func decode(text []byte, into *map[string]any) error { return json.Unmarshal(text, into) }
