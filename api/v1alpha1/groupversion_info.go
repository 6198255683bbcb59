package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "mlops.seldon.io", Version: "v1alpha1"}

// SchemeBuilder collects the kinds of this package.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers every kind of this package, and its list, in a scheme.
var AddToScheme = SchemeBuilder.AddToScheme

// Kind names, as they appear in `kind:` and in owner references.
const (
	KindModel         = "Model"
	KindPipeline      = "Pipeline"
	KindExperiment    = "Experiment"
	KindServer        = "Server"
	KindServerConfig  = "ServerConfig"
	KindSeldonConfig  = "SeldonConfig"
	KindSeldonRuntime = "SeldonRuntime"
)

// Resource qualifies a resource name, such as "models", with the group.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&Model{}, &ModelList{},
		&Pipeline{}, &PipelineList{},
		&Experiment{}, &ExperimentList{},
		&Server{}, &ServerList{},
		&ServerConfig{}, &ServerConfigList{},
		&SeldonConfig{}, &SeldonConfigList{},
		&SeldonRuntime{}, &SeldonRuntimeList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
