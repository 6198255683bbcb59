// Package explain says where the fields of a child object in a cluster are from: the layer
// that sets a field, the layers that it overrides, and the field managers that own it.
package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/cli/internal/tolerant"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Report is about one child object.
type Report struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	// Owner is the custom resource that the object is rendered from.
	Owner string `json:"owner"`
	// Fields in the order of the steps of rendering, and of paths.
	Fields []Field `json:"fields"`
	// Defaults is the number of fields that no layer and no manager sets: defaults of the API server.
	Defaults int `json:"defaults"`
	// Denied are reads that are not permitted; fields that depend on them may be wrong.
	Denied []string `json:"denied,omitempty"`

	content map[string]any
	removed []provenance.Removal
	// unset are the fields that are counted as Defaults.
	unset []Field
}

// Field is a scalar of the object.
type Field struct {
	Path string `json:"path"`
	// Value in the cluster; nil if the field does not exist.
	Value any `json:"value"`
	// Rendered is the value of the layers, if the cluster has another one.
	Rendered any `json:"rendered,omitempty"`
	// Layer that sets the field, and the path there; empty if no layer does.
	Layer     string `json:"layer,omitempty"`
	LayerPath string `json:"layerPath,omitempty"`
	// Overridden are the values of lower layers, from the lowest.
	Overridden []Setting `json:"overridden,omitempty"`
	// Managers own the field in the cluster.
	Managers []fields.Manager `json:"managers,omitempty"`
	// LastWrite is the latest time of the managers: that of a write of any of their fields.
	LastWrite *time.Time `json:"lastWrite,omitempty"`

	order int
	// steps lead to the field in the cluster; empty if it does not exist.
	steps []any
}

// Setting is the value of a field in a layer.
type Setting struct {
	Layer     string `json:"layer"`
	LayerPath string `json:"layerPath,omitempty"`
	Value     any    `json:"value"`
}

// NotAChildError is the error of an object that no SeldonRuntime or Server controls.
type NotAChildError struct {
	Ref composition.ObjectRef
	// Owner is the object that controls it; empty for none.
	Owner string
}

func (e *NotAChildError) Error() string {
	if e.Owner == "" {
		return fmt.Sprintf("%s is not controlled by a SeldonRuntime or a Server, so that no layer sets its fields", e.Ref)
	}
	return fmt.Sprintf("%s is controlled by %s, not by a SeldonRuntime or a Server; name that object", e.Ref, e.Owner)
}

// Of reports on an object. Cluster is read without a cache.
func Of(ctx context.Context, cluster client.Reader, serving *operator.Operator, ref composition.ObjectRef) (*Report, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(ref.GroupVersionKind)
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, live); err != nil {
		return nil, err
	}
	reader := &tolerant.Reader{Reader: cluster}
	resolver := &inputs.Resolver{
		Reader: reader, Namespace: serving.Namespace, UseDeployments: serving.UseDeployments, MaxReplicasPerServer: serving.MaxReplicasPerServer,
	}
	request, refine, err := requestOf(ctx, resolver, cluster, ref, live)
	if err != nil {
		return nil, err
	}
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		return nil, err
	}
	rendered, err := composition.Render(compiled, request.Input, inputs.EngineOptions)
	if err != nil {
		return nil, err
	}
	origins, err := provenance.Of(compiled, request.Input, inputs.EngineOptions, refine)
	if err != nil {
		return nil, err
	}
	planned := plan.Compute(plan.State{
		Owner: request.Owner, Objects: rendered.Objects, ExternalConfigs: request.ExternalConfigs, Options: inputs.EngineOptions,
		Live: map[composition.ObjectRef]*unstructured.Unstructured{ref: live},
	})
	desired := origins.Object(ref)
	for _, step := range planned.Steps {
		if step.Ref == ref && step.Object != nil {
			desired = step.Object
		}
	}
	report := &Report{
		APIVersion: live.GetAPIVersion(), Kind: live.GetKind(), Namespace: live.GetNamespace(), Name: live.GetName(),
		Owner: fmt.Sprintf("%s %s/%s", request.Owner.Kind, request.Owner.Namespace, request.Owner.Name), Denied: reader.Denied(),
		removed: origins.Removed(ref),
	}
	return report, report.addFields(ref, live, desired, origins)
}

// requestOf returns the request of the owner of an object.
func requestOf(ctx context.Context, resolver *inputs.Resolver, cluster client.Reader, ref composition.ObjectRef, live *unstructured.Unstructured) (composition.Request, provenance.Refinement, error) {
	controller := metav1.GetControllerOf(live)
	if controller == nil {
		return composition.Request{}, nil, &NotAChildError{Ref: ref}
	}
	group, err := schema.ParseGroupVersion(controller.APIVersion)
	key := client.ObjectKey{Namespace: ref.Namespace, Name: controller.Name}
	if err == nil && group.Group == v1alpha1.GroupVersion.Group {
		switch controller.Kind {
		case v1alpha1.KindSeldonRuntime:
			owner := &v1alpha1.SeldonRuntime{}
			if err := cluster.Get(ctx, key, owner); err != nil {
				return composition.Request{}, nil, err
			}
			input, err := resolver.Runtime(ctx, owner)
			if err != nil {
				return composition.Request{}, nil, fmt.Errorf("%s %s: %w", controller.Kind, key, err)
			}
			return input.Request, provenance.ForRuntime(owner, input.Config), nil
		case v1alpha1.KindServer:
			owner := &v1alpha1.Server{}
			if err := cluster.Get(ctx, key, owner); err != nil {
				return composition.Request{}, nil, err
			}
			input, err := resolver.Server(ctx, owner)
			if err != nil {
				return composition.Request{}, nil, fmt.Errorf("%s %s: %w", controller.Kind, key, err)
			}
			return input.Request, provenance.ForServer(owner, input.Config, runtimeOf(ctx, resolver.Reader, owner)), nil
		}
	}
	return composition.Request{}, nil, &NotAChildError{Ref: ref, Owner: controller.Kind + " " + key.String()}
}

// runtimeOf returns the runtime that controls a Server; nil if there is none, or it cannot be
// read.
func runtimeOf(ctx context.Context, reader client.Reader, server *v1alpha1.Server) *v1alpha1.SeldonRuntime {
	controller := metav1.GetControllerOf(server)
	if controller == nil || controller.Kind != v1alpha1.KindSeldonRuntime {
		return nil
	}
	runtime := &v1alpha1.SeldonRuntime{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: controller.Name}, runtime); err != nil {
		return nil
	}
	return runtime
}

// addFields adds the fields that a layer sets or a manager owns.
func (r *Report) addFields(ref composition.ObjectRef, live, desired *unstructured.Unstructured, origins *provenance.Origins) error {
	ownership, err := fields.OwnershipOf(live)
	if err != nil {
		return err
	}
	content := fields.WithoutBookkeeping(withoutOwners(live).Object)
	r.content = content
	if desired == nil { // an orphan
		desired = &unstructured.Unstructured{Object: map[string]any{}}
	}
	desired = withoutOwners(desired)
	for _, leaf := range fields.Leaves(ref.GroupVersionKind, content) {
		field := Field{Path: leaf.Path, Value: leaf.Value, Managers: ownership.Of(leaf.Steps), steps: leaf.Steps}
		for _, manager := range field.Managers {
			if manager.Time != nil && (field.LastWrite == nil || manager.Time.After(*field.LastWrite)) {
				field.LastWrite = manager.Time
			}
		}
		value, _, exists, err := fields.Find(desired.Object, leaf.Path)
		if err != nil {
			return err
		}
		if exists && !equal(value, leaf.Value) {
			field.Rendered = value
		}
		r.addSource(&field, ref, origins, exists)
		if field.Layer == "" && len(field.Managers) == 0 {
			r.unset = append(r.unset, field)
			continue
		}
		r.Fields = append(r.Fields, field)
	}
	for _, leaf := range fields.Leaves(ref.GroupVersionKind, desired.Object) {
		if _, _, exists, err := fields.Find(content, leaf.Path); err != nil || exists {
			continue
		}
		field := Field{Path: leaf.Path, Rendered: leaf.Value}
		if isZero(leaf.Value) { // the API server omits zero values
			field = Field{Path: leaf.Path, Value: leaf.Value}
		}
		r.addSource(&field, ref, origins, true)
		r.Fields = append(r.Fields, field)
	}
	slices.SortStableFunc(r.Fields, func(a, b Field) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.LayerPath, b.LayerPath))
	})
	r.Defaults = len(r.unset)
	r.mask(ref)
	return nil
}

// withoutOwners returns a copy without owner references: the report names the owner.
func withoutOwners(object *unstructured.Unstructured) *unstructured.Unstructured {
	result := object.DeepCopy()
	unstructured.RemoveNestedField(result.Object, "metadata", "ownerReferences")
	return result
}

// Positions of fields that no step of rendering sets.
const (
	orderEngine  = 1 << 20
	orderNoLayer = 1 << 21
)

// addSource sets the layer of a field. exists: it is among what is applied.
func (r *Report) addSource(field *Field, ref composition.ObjectRef, origins *provenance.Origins, exists bool) {
	node := origins.Lookup(ref, field.Path)
	switch {
	case node != nil:
		field.Layer, field.LayerPath, field.order = node.Source.Layer, node.Source.Path, node.Source.Index
		if field.Layer == provenance.Engine {
			field.order = orderEngine
		}
		for _, each := range node.Overridden {
			field.Overridden = append(field.Overridden, Setting{each.Source.Layer, each.Source.Path, each.Value})
		}
	case exists:
		field.Layer, field.order = provenance.Engine, orderEngine
	default:
		field.order = orderNoLayer
	}
}

// mask replaces the values of a Secret.
func (r *Report) mask(ref composition.ObjectRef) {
	if ref.Group != "" || ref.Kind != "Secret" {
		return
	}
	for i := range r.Fields {
		if field := &r.Fields[i]; strings.HasPrefix(field.Path, "data") || strings.HasPrefix(field.Path, "stringData") {
			field.Value, field.Rendered, field.Overridden = fields.Masked("(masked)"), nil, nil
		}
	}
}

// isZero reports whether a value is a zero value.
func isZero(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	case string:
		return value == ""
	case bool:
		return !value
	}
	return fields.Equal(value, int64(0))
}

// equal reports whether two values are equal, as quantities if both are.
func equal(a, b any) bool {
	if fields.Equal(a, b) {
		return true
	}
	one, errA := resource.ParseQuantity(fmt.Sprint(a))
	other, errB := resource.ParseQuantity(fmt.Sprint(b))
	return errA == nil && errB == nil && one.Cmp(other) == 0
}

// Select returns a report with the fields at a path or below it only, defaults included. If
// there are none, the error is that of an object that does not exist.
func (r *Report) Select(path string) (*Report, error) {
	_, steps, exists, err := fields.Find(r.content, path)
	if err != nil {
		return nil, err
	}
	selected := *r
	selected.Fields, selected.Defaults, selected.unset = nil, 0, nil
	for _, field := range slices.Concat(r.Fields, r.unset) {
		isBelow := exists && len(field.steps) >= len(steps) && slices.Equal(field.steps[:len(steps)], steps)
		isAbsent := len(field.steps) == 0 && (field.Path == path || strings.HasPrefix(field.Path, path+".") || strings.HasPrefix(field.Path, path+"["))
		if isBelow || isAbsent {
			selected.Fields = append(selected.Fields, field)
		}
	}
	if len(selected.Fields) == 0 {
		for _, each := range r.removed {
			if each.Path == path {
				return nil, fmt.Errorf("%s %s/%s has no field %s: %s removes it", r.Kind, r.Namespace, r.Name, path, each.Source)
			}
		}
		return nil, fmt.Errorf("%s %s/%s has no field %s, and no layer sets it", r.Kind, r.Namespace, r.Name, path)
	}
	return &selected, nil
}
