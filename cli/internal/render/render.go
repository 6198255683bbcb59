// Package render expands the SeldonRuntimes and Servers of files into the objects that the
// operator creates for them, down to the objects of a runtime's Servers.
//
// The objects are those that the operator sends for an owner without child objects, except
// for owner references: an owner that is not in a cluster has no UID.
package render

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/cli/internal/tolerant"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/config"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// InputError is an error of the files, as opposed to one of reading a cluster.
type InputError struct{ Err error }

// Error returns the cause.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// Options of [Render].
type Options struct {
	Scheme *runtime.Scheme
	// Operator has the settings that change what is rendered.
	Operator *operator.Operator
	// Cluster has what is not in the files; nil for none: configurations are then built in.
	Cluster client.Reader
	// Explain computes the sources of fields.
	Explain bool
}

// Object is a rendered object, or one of the files that is passed through.
type Object struct {
	*unstructured.Unstructured
	// Template and Sources are those of the object and of its fields; empty if the object is
	// passed through, or without [Options.Explain].
	Template string
	Sources  *provenance.Node
	// Removed are the fields that a layer removed.
	Removed []provenance.Removal
}

// Result of rendering.
type Result struct {
	// Objects in the order of waves.
	Objects []Object
	// Runtimes and Servers are the numbers of rendered owners.
	Runtimes, Servers int
	// BuiltIn are the configurations that are not in the files: "SeldonConfig default".
	BuiltIn []string
	// LeftOut describes the custom resources that are not among the objects.
	LeftOut []string
	// Warnings are about fields that have no effect or that a limit changes.
	Warnings []string
	// Denied are the reads that are not permitted.
	Denied []string
}

// Render renders files. The error has those of all owners, joined.
func Render(ctx context.Context, files []manifest.Object, options Options) (*Result, error) {
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		return nil, err
	}
	r := &renderer{Options: options, templates: compiled, builtIn: map[string]bool{}, result: &Result{}}
	r.files = manifest.Contents(files)
	for _, file := range files {
		r.addFile(file)
	}
	if err := r.addBuiltIn(files); err != nil {
		return nil, err
	}
	if options.Cluster != nil {
		r.cluster = &tolerant.Reader{Reader: options.Cluster}
	}
	errs := []error{r.checkRuntimes()}
	for _, runtime := range r.runtimes {
		errs = append(errs, r.addRuntime(ctx, runtime))
	}
	for _, server := range r.servers {
		errs = append(errs, r.addServer(ctx, server))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if r.cluster != nil {
		r.result.Denied = r.cluster.Denied()
	}
	r.sort()
	return r.result, nil
}

// server is a Server to render, of a file or of a runtime.
type server struct {
	*v1alpha1.Server
	// runtime that has it in spec.servers; nil for none.
	runtime *v1alpha1.SeldonRuntime
}

type renderer struct {
	Options
	templates *composition.Templates
	cluster   *tolerant.Reader
	// files are what is read: objects of the files, and rendered ones.
	files []*unstructured.Unstructured
	// builtIn are the built-in configurations among them: "SeldonConfig default".
	builtIn  map[string]bool
	runtimes []*v1alpha1.SeldonRuntime
	servers  []server
	result   *Result
}

// addFile adds an object of a file to what is rendered, passed through or left out.
func (r *renderer) addFile(file manifest.Object) {
	switch typed := file.Typed.(type) {
	case nil:
		r.result.Objects = append(r.result.Objects, Object{Unstructured: file.Unstructured})
		return
	case *v1alpha1.SeldonRuntime:
		r.runtimes = append(r.runtimes, typed)
	case *v1alpha1.Server:
		r.servers = append(r.servers, server{Server: typed})
	}
	r.result.LeftOut = append(r.result.LeftOut, file.String())
}

// addBuiltIn adds the default configurations for kinds of which the files have none.
func (r *renderer) addBuiltIn(files []manifest.Object) error {
	if r.Cluster != nil {
		return nil
	}
	has := map[string]bool{}
	for _, file := range files {
		if manifest.IsConfig(file.GroupVersionKind().GroupKind()) {
			has[file.GetKind()] = true
		}
	}
	var texts []string
	if !has[v1alpha1.KindSeldonConfig] && len(r.runtimes) > 0 {
		texts = append(texts, config.SeldonConfig)
	}
	if !has[v1alpha1.KindServerConfig] {
		if r.Operator.UseDeployments {
			texts = append(texts, config.MLServerDeployment, config.TritonDeployment)
		} else {
			texts = append(texts, config.MLServer, config.Triton)
		}
	}
	for _, text := range texts {
		objects, err := manifest.Parse("built-in configuration", strings.NewReader(text), "")
		if err != nil {
			return err
		}
		for _, object := range objects {
			r.builtIn[object.GetKind()+" "+object.GetName()] = true
			r.files = append(r.files, object.Unstructured)
		}
	}
	return nil
}

// useConfig records the use of a configuration, if it is built in.
func (r *renderer) useConfig(kind, name string) {
	if used := kind + " " + name; r.builtIn[used] && !slices.Contains(r.result.BuiltIn, used) {
		r.result.BuiltIn = append(r.result.BuiltIn, used)
	}
}

// checkRuntimes returns an error if a namespace has several runtimes.
func (r *renderer) checkRuntimes() error {
	first := map[string]string{}
	var errs []error
	for _, runtime := range r.runtimes {
		if other, found := first[runtime.Namespace]; found {
			errs = append(errs, &InputError{fmt.Errorf("SeldonRuntime %s/%s: namespace %s also has %s, and the operator serves one SeldonRuntime of a namespace; remove one",
				runtime.Namespace, runtime.Name, runtime.Namespace, other)})
			continue
		}
		first[runtime.Namespace] = runtime.Name
	}
	return errors.Join(errs...)
}

// resolver returns a resolver that reads files, rendered objects and the cluster.
func (r *renderer) resolver() *inputs.Resolver {
	var fallback client.Reader
	if r.cluster != nil {
		fallback = r.cluster
	}
	return &inputs.Resolver{
		Reader: manifest.NewReader(r.Scheme, r.files, fallback), Namespace: r.Operator.Namespace,
		UseDeployments: r.Operator.UseDeployments, MaxReplicasPerServer: r.Operator.MaxReplicasPerServer,
	}
}

// addRuntime renders a runtime, and adds its Servers to those to render.
func (r *renderer) addRuntime(ctx context.Context, runtime *v1alpha1.SeldonRuntime) error {
	name := fmt.Sprintf("SeldonRuntime %s/%s", runtime.Namespace, runtime.Name)
	resolver := r.resolver()
	if err := resolver.Reader.Get(ctx, client.ObjectKeyFromObject(runtime), runtime); err != nil {
		return err
	}
	input, err := resolver.Runtime(ctx, runtime)
	if err != nil {
		return r.explainError(name, err)
	}
	r.useConfig(v1alpha1.KindSeldonConfig, input.Config.Name)
	components := input.Components
	for _, limit := range components.ReplicaLimits {
		r.warn(name, limit.String())
	}
	for _, message := range slices.Concat(components.UnknownOverrides, components.NamesTooLong) {
		r.warn(name, message)
	}
	children, err := r.expand(name, input.Request, provenance.ForRuntime(runtime, input.Config))
	if err != nil {
		return err
	}
	r.result.Runtimes++
	var errs []error
	for _, child := range children {
		// Servers read ConfigMaps of their runtime, which the owner reference identifies.
		r.files = append(r.files, child.Unstructured)
		if child.GroupVersionKind().Group != v1alpha1.GroupVersion.Group {
			errs = append(errs, r.add(name, child))
			continue
		}
		errs = append(errs, r.addChildServer(runtime, child.Unstructured))
	}
	return errors.Join(errs...)
}

// addChildServer adds a rendered Server to those to render.
func (r *renderer) addChildServer(runtime *v1alpha1.SeldonRuntime, child *unstructured.Unstructured) error {
	name := fmt.Sprintf("Server %s/%s of SeldonRuntime %s", child.GetNamespace(), child.GetName(), runtime.Name)
	if slices.ContainsFunc(r.servers, func(other server) bool {
		return other.Namespace == child.GetNamespace() && other.Name == child.GetName()
	}) {
		return &InputError{fmt.Errorf("%s: the files also have a Server of that name; remove one", name)}
	}
	manifest.SetDefaults(child)
	decoded, err := manifest.Decode(child)
	if err != nil {
		return &InputError{fmt.Errorf("%s: %w", name, err)}
	}
	typed := decoded.(*v1alpha1.Server)
	r.servers = append(r.servers, server{typed, runtime})
	r.result.LeftOut = append(r.result.LeftOut, name)
	return nil
}

// addServer renders a Server.
func (r *renderer) addServer(ctx context.Context, server server) error {
	name := fmt.Sprintf("Server %s/%s", server.Namespace, server.Name)
	resolver := r.resolver()
	typed := server.Server
	if err := resolver.Reader.Get(ctx, client.ObjectKeyFromObject(typed), typed); err != nil {
		return err
	}
	input, err := resolver.Server(ctx, typed)
	if err != nil {
		return r.explainError(name, err)
	}
	r.useConfig(v1alpha1.KindServerConfig, input.Config.Name)
	for _, message := range append(slices.Clone(input.Warnings.FieldsIgnored), input.Warnings.ReplicasLimited, input.Warnings.NameTooLong) {
		r.warn(name, message)
	}
	children, err := r.expand(name, input.Request, provenance.ForServer(typed, input.Config, server.runtime))
	if err != nil {
		return err
	}
	r.result.Servers++
	var errs []error
	for _, child := range children {
		errs = append(errs, r.add(name, child))
	}
	return errors.Join(errs...)
}

// expand renders the objects of an owner as the operator applies them, with their owner
// references.
func (r *renderer) expand(name string, request composition.Request, refine provenance.Refinement) ([]Object, error) {
	rendered, err := composition.Render(r.templates, request.Input, inputs.EngineOptions)
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", name, err)}
	}
	for _, patch := range rendered.UnmatchedPatches {
		r.warn(patch.Source, patch.Path+": matches no object; correct or remove its target")
	}
	planned := plan.Compute(plan.State{
		Owner: request.Owner, Objects: rendered.Objects, ExternalConfigs: request.ExternalConfigs, Options: inputs.EngineOptions,
	})
	var origins *provenance.Origins
	if r.Explain {
		if origins, err = provenance.Of(r.templates, request.Input, inputs.EngineOptions, refine); err != nil {
			return nil, err
		}
	}
	objects := make([]Object, len(planned.Steps))
	for i, step := range planned.Steps {
		objects[i] = Object{Unstructured: step.Object.DeepCopy()}
		if origins != nil {
			objects[i].Sources = origins.Node(step.Ref)
			objects[i].Template = origins.Node(step.Ref).Source.Layer
			objects[i].Removed = origins.Removed(step.Ref)
		}
	}
	return objects, nil
}

// add adds a rendered object to the result.
func (r *renderer) add(owner string, child Object) error {
	ref := object.RefOf(child.Unstructured)
	for _, other := range r.result.Objects {
		if object.RefOf(other.Unstructured) == ref {
			return &InputError{fmt.Errorf("%s: it has %s, which the files or another owner have as well; remove or rename one", owner, ref)}
		}
	}
	child.Unstructured = child.DeepCopy()
	child.SetOwnerReferences(nil)
	r.result.Objects = append(r.result.Objects, child)
	return nil
}

// warn records a warning about an owner; none for an empty message.
func (r *renderer) warn(owner, message string) {
	if message != "" {
		r.result.Warnings = append(r.result.Warnings, owner+": "+message)
	}
}

// explainError returns the error of computing the input of an owner.
func (r *renderer) explainError(name string, err error) error {
	if missing, is := errors.AsType[*inputs.ConfigNotFoundError](err); is && r.Cluster == nil && missing.Name != "" {
		return &InputError{fmt.Errorf("%s: %s: there is no %s %q in the files; add it, or use --from-cluster", name, missing.Field, missing.Kind, missing.Name)}
	} else if is {
		return &InputError{fmt.Errorf("%s: %w", name, err)}
	}
	if _, is := errors.AsType[*composition.RenderError](err); is {
		return &InputError{fmt.Errorf("%s: %w", name, err)}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// sort sorts the objects by waves, and within a wave by kind, namespace and name.
func (r *renderer) sort() {
	byRef := map[object.Ref]Object{}
	sorted := make([]object.Object, len(r.result.Objects))
	for i, each := range r.result.Objects {
		sorted[i] = object.Object{Object: each.Unstructured}
		byRef[sorted[i].Ref()] = each
	}
	object.Sort(sorted)
	for i, each := range sorted {
		r.result.Objects[i] = byRef[each.Ref()]
	}
	slices.Sort(r.result.BuiltIn)
	slices.Sort(r.result.Warnings)
}
