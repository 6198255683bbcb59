package templates

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// Files are the Kustomize folders. Each also builds by itself with the stock
// `kustomize build`.
//
//go:embed runtime server
var Files embed.FS

// KeyPrefix is the prefix of the label and annotation keys that the operator itself
// defines. They are not propagated from an object to its child objects.
const KeyPrefix = "mlops.seldon.io/"

// AnnotationPrefix is that of the annotations by which the templates set options of the
// engine; see [composition.LoadTemplates].
const AnnotationPrefix = "composition.seldon-operator.dev/"

// StartupConfigMaps are the ConfigMaps that pods read only when they start. A change of
// one restarts the pods of the workloads that refer to it.
var StartupConfigMaps = []string{"seldon-kafka", "seldon-tracing"}

// PropagatedKeysAnnotation is the key of the annotation on a workload that lists which
// labels and annotations of its pods are from custom resources.
const PropagatedKeysAnnotation = KeyPrefix + "propagated-keys"

// toolPrefixes, toolDomains and toolKeys are keys of metadata that Helm, kubectl, GitOps
// tools, backup tools and consoles set on what they apply or edit. It describes who did
// that and when, so on a child object or a pod it would be wrong, and would restart pods
// at each release or edit. Keys by which tools find pods, such as
// backstage.io/kubernetes-id, are not among them.
var (
	toolPrefixes = []string{
		"meta.helm.sh/", "helm.sh/", "kubectl.kubernetes.io/", "config.kubernetes.io/", "config.k8s.io/",
		"argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "fluxcd.io/",
		"applyset.kubernetes.io/", "cli-utils.sigs.k8s.io/", "kapp.k14s.io/", "pulumi.com/", "crossplane.io/",
		"velero.io/", "k8slens-",
	}
	// toolDomains include their subdomains: Rancher has field.cattle.io,
	// fleet.cattle.io, management.cattle.io and more.
	toolDomains = []string{"cattle.io"}
	toolKeys    = map[string]bool{
		"app.kubernetes.io/managed-by": true,
		"app.kubernetes.io/instance":   true, // Argo CD's tracking label
	}
)

// IsToolingKey reports whether a label or annotation key is one that tools use for their
// own purposes.
func IsToolingKey(key string) bool {
	if toolKeys[key] {
		return true
	}
	for _, prefix := range toolPrefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	prefix, _, _ := strings.Cut(key, "/")
	for _, domain := range toolDomains {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return true
		}
	}
	return false
}

// propagatedMetadata merges the metadata that is propagated to child objects, lowest
// layer first. Keys of tools and of the operator are omitted, and so are those in fixed,
// which the template sets.
func propagatedMetadata(layers []map[string]string, fixed ...string) map[string]any {
	merged := map[string]any{}
	for _, layer := range layers {
		for key, value := range layer {
			if !IsToolingKey(key) && !strings.HasPrefix(key, KeyPrefix) && key != v1alpha1.LastAppliedAnnotation {
				merged[key] = value
			}
		}
	}
	for _, key := range fixed {
		delete(merged, key)
	}
	return merged
}

// versionOf returns a version of the spec of a configuration in the cluster; empty for
// one that is not in a cluster.
func versionOf(config metav1.Object) string {
	if config.GetUID() == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", config.GetUID(), config.GetGeneration())
}

// staticOverlays returns a function that returns overlays which exist already.
func staticOverlays(overlays *[]composition.Overlay) func() ([]composition.Overlay, error) {
	return func() ([]composition.Overlay, error) { return *overlays, nil }
}

// workloadMetadata returns the content of an overlay that sets the same labels and
// annotations on a workload and its pods.
func workloadMetadata(labels, annotations map[string]any) map[string]any {
	metadata := func() map[string]any {
		return map[string]any{"labels": maps.Clone(labels), "annotations": maps.Clone(annotations)}
	}
	var keys []string
	for key := range annotations {
		keys = append(keys, "annotations:"+key)
	}
	for key := range labels {
		keys = append(keys, "labels:"+key)
	}
	slices.Sort(keys)
	own := metadata()
	own["annotations"].(map[string]any)[PropagatedKeysAnnotation] = strings.Join(keys, " ")
	return map[string]any{
		"metadata": own,
		"spec":     map[string]any{"template": map[string]any{"metadata": metadata()}},
	}
}

// podSpec returns the content of an overlay for the pods of a workload.
func podSpec(content map[string]any) map[string]any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": content}}}
}

// claimTemplates returns the volume claim templates of a StatefulSet.
func claimTemplates(claims []v1alpha1.PersistentVolumeClaim) ([]any, error) {
	templates := make([]any, 0, len(claims))
	for i := range claims {
		spec, err := claims[i].Spec.Raw()
		if err != nil {
			return nil, err
		}
		templates = append(templates, map[string]any{
			"metadata": map[string]any{"name": claims[i].Name},
			"spec":     spec,
		})
	}
	return templates, nil
}

// Kinds that patches cannot target, since the operator defines permissions. Patches of the
// platform team can target ServiceAccounts, for example to add annotations of a cloud.
var (
	platformDeniedKinds = []schema.GroupKind{
		{Group: rbacv1.GroupName, Kind: "Role"},
		{Group: rbacv1.GroupName, Kind: "RoleBinding"},
	}
	tenantDeniedKinds = append([]schema.GroupKind{{Kind: "ServiceAccount"}}, platformDeniedKinds...)
)

// patches converts patches of the API to those of the engine.
func patches(source string, list []v1alpha1.Patch, forbidden []schema.GroupKind) []composition.Patch {
	result := make([]composition.Patch, 0, len(list))
	for i, patch := range list {
		converted := composition.Patch{
			Source: source, Path: fieldPath("spec.patches", i), Text: patch.Patch, DeniedKinds: forbidden,
		}
		if target := patch.Target; target != nil {
			converted.Target = &types.Selector{
				ResId: resid.NewResId(
					resid.NewGvk(target.Group, target.Version, target.Kind), target.Name),
				LabelSelector:      target.LabelSelector,
				AnnotationSelector: target.AnnotationSelector,
			}
		}
		result = append(result, converted)
	}
	return result
}
