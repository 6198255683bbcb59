// +kubebuilder:object:generate=true
// +groupName=websites.example.com
// +versionName=v1

package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

var groupVersion = schema.GroupVersion{Group: "websites.example.com", Version: "v1"}

// newScheme returns a scheme with Kubernetes' kinds and those of this operator.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(groupVersion, &Website{}, &WebsiteList{}, &Proxy{}, &ProxyList{})
	metav1.AddToGroupVersion(scheme, groupVersion)
	return scheme, clientgoscheme.AddToScheme(scheme)
}

// Website is a set of static pages that a web server serves.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
type Website struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   WebsiteSpec `json:"spec,omitempty"`
	Status `json:"status,omitempty"`
}

// WebsiteSpec is the desired state of a Website.
type WebsiteSpec struct {
	// Pages are the contents of files, by their name.
	Pages map[string]string `json:"pages,omitempty"`
	// PodSpec is merged over the pod spec of the web server.
	// +kubebuilder:pruning:PreserveUnknownFields
	PodSpec *runtime.RawExtension `json:"podSpec,omitempty"`
	// Proxy adds a caching proxy in front of the web server.
	Proxy *ProxySettings `json:"proxy,omitempty"`
}

// ProxySettings configure a Proxy.
type ProxySettings struct {
	// CacheSize is the memory for cached pages, such as 256M.
	// +kubebuilder:default="100M"
	CacheSize string `json:"cacheSize,omitempty"`
}

// Proxy is a caching proxy in front of a Service.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
type Proxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ProxySpec `json:"spec,omitempty"`
	Status `json:"status,omitempty"`
}

// ProxySpec is the desired state of a Proxy.
type ProxySpec struct {
	ProxySettings `json:",inline"`
	// Backend is the name of the Service whose responses are cached.
	Backend string `json:"backend"`
}

// Status is that of both kinds. With its methods they are a [reconciler.Object].
type Status struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GetConditions returns the conditions.
func (s *Status) GetConditions() []metav1.Condition { return s.Conditions }

// SetConditions replaces the conditions.
func (s *Status) SetConditions(conditions []metav1.Condition) { s.Conditions = conditions }

// SetObservedGeneration sets the generation that the conditions are of.
func (s *Status) SetObservedGeneration(generation int64) { s.ObservedGeneration = generation }

// WebsiteList is a list of Websites.
//
// +kubebuilder:object:root=true
type WebsiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Website `json:"items"`
}

// ProxyList is a list of Proxies.
//
// +kubebuilder:object:root=true
type ProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Proxy `json:"items"`
}
