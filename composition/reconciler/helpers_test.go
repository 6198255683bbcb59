package reconciler

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var widgetKind = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}

// widget is a custom resource for tests.
type widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              widgetSpec   `json:"spec"`
	Status            widgetStatus `json:"status"`
}

type widgetSpec struct {
	Size string `json:"size,omitempty"`
}

type widgetStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

func (w *widget) GetConditions() []metav1.Condition      { return w.Status.Conditions }
func (w *widget) SetConditions(c []metav1.Condition)     { w.Status.Conditions = c }
func (w *widget) SetObservedGeneration(generation int64) { w.Status.ObservedGeneration = generation }

func (w *widget) DeepCopy() *widget {
	object := *w
	w.ObjectMeta.DeepCopyInto(&object.ObjectMeta)
	object.Status.Conditions = append([]metav1.Condition(nil), w.Status.Conditions...)
	return &object
}

func (w *widget) DeepCopyObject() runtime.Object { return w.DeepCopy() }

// widgetList is a list of widgets.
type widgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []widget `json:"items"`
}

func (l *widgetList) DeepCopyObject() runtime.Object {
	list := *l
	list.Items = nil
	for i := range l.Items {
		list.Items = append(list.Items, *l.Items[i].DeepCopy())
	}
	return &list
}

// newScheme returns a scheme with widgets, the core kinds and workloads.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	scheme.AddKnownTypeWithName(widgetKind, &widget{})
	scheme.AddKnownTypeWithName(widgetKind.GroupVersion().WithKind("WidgetList"), &widgetList{})
	metav1.AddToGroupVersion(scheme, widgetKind.GroupVersion())
	return scheme
}
