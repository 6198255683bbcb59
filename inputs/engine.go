package inputs

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// FieldManager owns the fields of child objects. It must not change: the fields that the
// previous field manager owns would remain on every object.
const FieldManager = "seldon-operator"

// EngineOptions are the options of the engine.
var EngineOptions = composition.Options{
	FieldManager:                FieldManager,
	KeyPrefix:                   templates.KeyPrefix,
	PreservePodTemplateKey:      templates.IsToolingKey,
	LegacyLastAppliedAnnotation: v1alpha1.LastAppliedAnnotation,
	// The managers of kubectl create, apply, and apply --server-side.
	ManifestManagers: []string{"kubectl-create", "kubectl-client-side-apply", "kubectl"},
}

// RuntimeKinds returns the kinds of the child objects of SeldonRuntimes and Servers.
func RuntimeKinds() []composition.Kind {
	return append(ServerKinds(), []composition.Kind{
		{Object: &corev1.ServiceAccount{}},
		{Object: &rbacv1.Role{}},
		{Object: &rbacv1.RoleBinding{}},
		{Object: &corev1.ConfigMap{}},
		{Object: &v1alpha1.Server{}, CacheUnfiltered: true},
	}...)
}

// ServerKinds returns the kinds of the child objects of Servers.
func ServerKinds() []composition.Kind {
	return []composition.Kind{
		{Object: &corev1.Service{}},
		{Object: &appsv1.Deployment{}},
		{Object: &appsv1.StatefulSet{}},
	}
}

var (
	runtimeKind = v1alpha1.GroupVersion.WithKind("SeldonRuntime")
	serverKind  = v1alpha1.GroupVersion.WithKind("Server")
)
