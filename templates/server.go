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
	// UseDeployment makes a Deployment in place of a StatefulSet with its
	// per-replica Services.
	UseDeployment bool
	// MaxReplicas is the greatest number of replicas that a Server may ask for; 0
	// means DefaultMaxReplicas.
	MaxReplicas int64
	// LiveReplicas is spec.replicas of the live workload, which a Server that asks
	// for more than MaxReplicas keeps; nil if there is no workload.
	LiveReplicas *int64
	// ObservedReplicas is status.replicas of the live StatefulSet. The Service of a
	// replica outlives its pod.
	ObservedReplicas int64
}

// ServerWarnings are what a Server asks for and does not get.
type ServerWarnings struct {
	// FieldsIgnored has an entry for each field that has no effect.
	FieldsIgnored []string
	// ReplicasLimited says why there are fewer replicas than the Server asks for;
	// empty if there are as many.
	ReplicasLimited string
	// NameTooLong says why no pod may come up; empty if the name is short enough.
	NameTooLong string
}

// Kind of the Server's workload.
func (s Server) Kind() schema.GroupVersionKind {
	if s.UseDeployment {
		return appsv1.SchemeGroupVersion.WithKind("Deployment")
	}
	return appsv1.SchemeGroupVersion.WithKind("StatefulSet")
}

// Selector is the label selector of the Server's pods.
func Selector(server string) string { return v1alpha1.ServerNameLabel + "=" + server }

// Input lays ServerConfig and Server over the server's template. Errors name the
// resource and the field.
func (s Server) Input() (input composition.Input, warnings ServerWarnings, err error) {
	base := sourceOf("ServerConfig", s.Config.Namespace, s.Config.Name)
	source := sourceOf("Server", s.Server.Namespace, s.Server.Name)
	replicas, limited, err := s.replicas()
	if err != nil {
		return composition.Input{}, ServerWarnings{}, fmt.Errorf("%s: spec: %w", source, err)
	}
	override, err := s.overrideContent(replicas)
	if err != nil {
		return composition.Input{}, ServerWarnings{}, fmt.Errorf("%s: %w", source, err)
	}
	on := func(path string, content map[string]any) composition.Overlay {
		return composition.Overlay{Path: path, Kind: s.Kind(), Name: s.Server.Name, Content: content}
	}
	overlays := []composition.Overlay{on("spec", override)}
	fixed := []string{v1alpha1.AppNameLabel, v1alpha1.ServerNameLabel}
	labels := propagated([]map[string]string{s.Config.Labels, s.Server.Labels}, fixed...)
	annotations := propagated([]map[string]string{s.Config.Annotations, s.Server.Annotations})
	if len(labels)+len(annotations) > 0 {
		overlays = append(overlays, on("metadata", onWorkload(labels, annotations)))
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
		Templates: s.frames(replicas),
		Layers: []composition.Layer{
			{Source: base, Version: versionOf(s.Config), Overlays: func() ([]composition.Overlay, error) {
				content, err := s.configContent()
				return []composition.Overlay{on("spec", content)}, err
			}},
			{Source: source, Overlays: these(&overlays)},
		},
		Patches: patches(source, s.Server.Spec.Patches, tenantForbidden),
	}, ServerWarnings{FieldsIgnored: ignored, ReplicasLimited: limited, NameTooLong: nameTooLong(s.Kind(), "Server", s.Server.Name)}, nil
}

// frames are the workload and, with a StatefulSet, a Service for each replica
// that is desired or still exists. What is desired counts up to the limit: the
// number of a Server above it may have been set by anyone who may edit the
// StatefulSet.
func (s Server) frames(replicas int64) []composition.TemplateRef {
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

// configContent is what the ServerConfig says of the workload.
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

// overrideContent is what the Server says of the workload. Its replicas are
// always sent: what scales is the Server.
func (s Server) overrideContent(replicas int64) (map[string]any, error) {
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
	field, wanted := "persistentVolumeClaimRetentionPolicy", any(s.Server.Spec.StatefulSetPersistentVolumeClaimRetentionPolicy)
	if s.UseDeployment {
		field, wanted = "strategy", s.Server.Spec.DeploymentStrategy
	}
	text, err := json.Marshal(wanted)
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

// capabilities write spec.capabilities, or spec.extraCapabilities behind what is
// there, into the environment variable of every container that has it. Nothing can
// be added to a value that comes from elsewhere, such as a ConfigMap, and it is
// kept.
func (s Server) capabilities(override map[string]any) (overlay map[string]any, ignored []string, err error) {
	own, extra := s.Server.Spec.Capabilities, s.Server.Spec.ExtraCapabilities
	if len(own) == 0 && len(extra) == 0 {
		return nil, nil, nil
	}
	if len(own) > 0 && len(extra) > 0 {
		ignored = append(ignored, "spec.extraCapabilities: has no effect beside spec.capabilities; add them there")
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
	if len(own) == 0 {
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
		all := own
		if len(all) == 0 {
			if variable["valueFrom"] != nil {
				ignored = append(ignored, fmt.Sprintf("%s: container %v takes %s from valueFrom, to which nothing can be added: set spec.capabilities, or a value in ServerConfig %s",
					field, fields["name"], v1alpha1.ServerCapabilitiesEnv, s.Config.Name))
				continue
			}
			all = extra
			if current, _ := variable["value"].(string); current != "" {
				all = append([]string{current}, extra...)
			}
		}
		changed = append(changed, map[string]any{
			"name": fields["name"],
			"env":  []any{map[string]any{"name": v1alpha1.ServerCapabilitiesEnv, "value": strings.Join(all, ",")}},
		})
	}
	if !exists {
		ignored = append(ignored, fmt.Sprintf("%s: no container of ServerConfig %s has the environment variable %s, so they have no effect",
			field, s.Config.Name, v1alpha1.ServerCapabilitiesEnv))
	}
	if len(changed) == 0 {
		return nil, ignored, nil
	}
	return podSpec(map[string]any{"containers": changed}), ignored, nil
}

// environment finds a variable of a container; nil if it has none of that name.
func environment(container map[string]any, name string) map[string]any {
	env, _, _ := unstructured.NestedSlice(container, "env")
	for _, entry := range env {
		if variable, _ := entry.(map[string]any); variable["name"] == name {
			return variable
		}
	}
	return nil
}

// decode reads JSON with numbers as int64 or float64, and null as nothing.
func decode(text []byte, into *map[string]any) error { return json.Unmarshal(text, into) }
