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

// OwnDomain prefixes the label and annotation keys that are the operator's own.
// They never propagate from a parent to a child.
const OwnDomain = "mlops.seldon.io/"

// AnnotationPrefix is that of the annotations by which the templates set options of the
// engine; see [composition.LoadTemplates].
const AnnotationPrefix = "composition.seldon-operator.dev/"

// StartupConfigMaps are those that pods read only when they start. A change of
// one rolls the workloads that refer to it.
var StartupConfigMaps = []string{"seldon-kafka", "seldon-tracing"}

// PropagatedKeysAnnotation on a workload lists what of its pods' metadata comes from
// custom resources.
const PropagatedKeysAnnotation = OwnDomain + "propagated-keys"

// toolPrefixes, toolDomains and toolKeys are the metadata that Helm, kubectl, GitOps
// tools, backups and consoles keep on what they apply or edit. It says who did that
// and when, so on a child, let alone a pod, it would be wrong, and would restart pods
// at each release or edit. Not among them is what tools find pods by, such as
// backstage.io/kubernetes-id.
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

// OwnedByTools reports whether a label or annotation key is one that tools keep for
// themselves.
func OwnedByTools(key string) bool {
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

// propagated merges the metadata that goes to children, lowest layer first.
// Keys of tools and of the operator stay behind, and so do those in fixed, which
// the template decides.
func propagated(layers []map[string]string, fixed ...string) map[string]any {
	merged := map[string]any{}
	for _, layer := range layers {
		for key, value := range layer {
			if !OwnedByTools(key) && !strings.HasPrefix(key, OwnDomain) && key != v1alpha1.LastAppliedAnnotation {
				merged[key] = value
			}
		}
	}
	for _, key := range fixed {
		delete(merged, key)
	}
	return merged
}

// versionOf identifies the spec of a configuration in the cluster; empty for one
// that is not in a cluster.
func versionOf(config metav1.Object) string {
	if config.GetUID() == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", config.GetUID(), config.GetGeneration())
}

// these makes the content of a layer that is there already.
func these(overlays *[]composition.Overlay) func() ([]composition.Overlay, error) {
	return func() ([]composition.Overlay, error) { return *overlays, nil }
}

// onWorkload is the content of an overlay that gives a workload and its pods the
// same labels and annotations.
func onWorkload(labels, annotations map[string]any) map[string]any {
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

// podSpec is the content of an overlay that changes a workload's pods.
func podSpec(content map[string]any) map[string]any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": content}}}
}

// claimTemplates is a StatefulSet's list of claim templates.
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

// Kinds that patches may not touch: rights are the operator's to give. Those of
// the platform team may change accounts, to annotate them for a cloud, say.
var (
	platformForbidden = []schema.GroupKind{
		{Group: rbacv1.GroupName, Kind: "Role"},
		{Group: rbacv1.GroupName, Kind: "RoleBinding"},
	}
	tenantForbidden = append([]schema.GroupKind{{Kind: "ServiceAccount"}}, platformForbidden...)
)

// patches turns the API's form into the engine's.
func patches(source string, list []v1alpha1.Patch, forbidden []schema.GroupKind) []composition.Patch {
	result := make([]composition.Patch, 0, len(list))
	for i, patch := range list {
		converted := composition.Patch{
			Source: source, Path: indexed("spec.patches", i), Text: patch.Patch, DeniedKinds: forbidden,
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
