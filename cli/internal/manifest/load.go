package manifest

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Object is an object in a file.
type Object struct {
	*unstructured.Unstructured
	// Typed is the decoded object, for the operator's kinds; else nil.
	Typed client.Object
	// Source is the path of the file, with the number of the object if it has several:
	// "runtime.yaml, object 2".
	Source string
	// file is the path or name of the source, and number that of the object in it, from 1.
	file   string
	number int
}

// String returns the form for messages: `runtime.yaml: SeldonRuntime team-a/seldon`.
func (o Object) String() string { return o.Source + ": " + describe(o.Unstructured) }

// describe returns "<kind> <namespace>/<name>", or without a namespace "<kind> <name>".
func describe(object *unstructured.Unstructured) string {
	name := object.GetName()
	if object.GetNamespace() != "" {
		name = object.GetNamespace() + "/" + name
	}
	return object.GetKind() + " " + name
}

// Options of [Load].
type Options struct {
	resource.FilenameOptions
	// In is read for the file name "-".
	In io.Reader
	// Namespace is set on objects of namespaced kinds that have none; empty for none. One of
	// the operator's kinds must have a namespace then, except for configurations.
	Namespace string
}

// kustomizeGroup is the API group of the configuration of a Kustomize folder.
const kustomizeGroup = "kustomize.config.k8s.io"

// Load reads objects, in the order of the files. The error has all that is invalid, joined:
// an [InvalidError] for each field of one of the operator's kinds. The valid objects are
// returned nevertheless.
func Load(options Options) ([]Object, error) {
	builder := resource.NewLocalBuilder().Unstructured().ContinueOnError().Flatten()
	files := options.FilenameOptions
	if stdin := slices.Index(files.Filenames, "-"); stdin >= 0 {
		if slices.Contains(files.Filenames[stdin+1:], "-") {
			return nil, resource.StdinMultiUseError
		}
		files.Filenames = slices.Delete(slices.Clone(files.Filenames), stdin, stdin+1)
		builder.Stream(options.In, "standard input")
	}
	if err := options.RequireFilenameOrKustomize(); err != nil {
		return nil, errors.New("no files are given; use --filename or --kustomize")
	}
	return read(builder.FilenameParam(false, &files), options.Namespace)
}

// Parse returns the objects in a text, like [Load].
func Parse(source string, text io.Reader, namespace string) ([]Object, error) {
	return read(resource.NewLocalBuilder().Unstructured().ContinueOnError().Flatten().Stream(text, source), namespace)
}

// read visits the objects of a builder.
func read(builder *resource.Builder, namespace string) ([]Object, error) {
	var objects []Object
	count := map[string]int{}
	err := builder.Do().Visit(func(info *resource.Info, err error) error {
		if err != nil {
			return err
		}
		content, is := info.Object.(*unstructured.Unstructured)
		if !is {
			return fmt.Errorf("%s: %T is not an object", info.Source, info.Object)
		}
		if gvk := content.GroupVersionKind(); gvk.Group == kustomizeGroup {
			return nil // the configuration of a folder that --filename names
		}
		count[info.Source]++
		number := count[info.Source]
		objects = append(objects, Object{Unstructured: content, Source: fmt.Sprintf("%s, object %d", info.Source, number), file: info.Source, number: number})
		return nil
	})
	errs := []error{err}
	rejected := map[identity]bool{}
	for i := range objects {
		object := &objects[i]
		if count[object.file] == 1 {
			object.Source = object.file
		}
		if err := object.complete(namespace); err != nil {
			errs = append(errs, err)
			rejected[identityOf(object.Unstructured)] = true
		}
	}
	for id, err := range findDuplicates(objects) {
		errs = append(errs, err)
		rejected[id] = true
	}
	valid := slices.DeleteFunc(objects, func(object Object) bool { return rejected[identityOf(object.Unstructured)] })
	return valid, errors.Join(errs...)
}

// complete sets the namespace and the defaults of an object, and decodes it.
func (o *Object) complete(namespace string) error {
	if o.GetName() == "" {
		return o.invalid(fieldError{"metadata.name", "is missing"})
	}
	kind := o.GroupVersionKind()
	if kind.Group != v1alpha1.GroupVersion.Group {
		if o.GetNamespace() == "" && isNamespaced(kind.GroupKind()) && namespace != "" {
			o.SetNamespace(namespace)
		}
		return nil
	}
	if o.GetNamespace() == "" && !IsConfig(kind.GroupKind()) {
		if namespace == "" {
			return o.invalid(fieldError{"metadata.namespace", "is missing; set it, or use --namespace or a context with a namespace"})
		}
		o.SetNamespace(namespace)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	SetDefaults(o.Unstructured)
	var errs []fieldError
	if kinds.Recognizes(kind) {
		errs = validate(o.Unstructured)
	}
	typed, undecodable := decodeFields(o.Unstructured)
	for _, each := range undecodable {
		// What cannot be decoded usually contradicts the schema as well.
		if len(errs) == 0 || each.message == messageUnknown && !slices.Contains(errs, each) {
			errs = append(errs, each)
		}
	}
	if len(errs) > 0 {
		return o.invalid(errs...)
	}
	o.Typed = typed
	return nil
}

// IsConfig reports whether a kind is a configuration, which is found by name in any
// namespace of the files.
func IsConfig(kind schema.GroupKind) bool {
	return kind.Group == v1alpha1.GroupVersion.Group && (kind.Kind == v1alpha1.KindSeldonConfig || kind.Kind == v1alpha1.KindServerConfig)
}

// isNamespaced reports whether a kind is one of the namespaced kinds of Kubernetes that are
// common beside the operator's.
func isNamespaced(kind schema.GroupKind) bool {
	switch kind.Group {
	case "":
		return slices.Contains([]string{"ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Pod", "LimitRange", "ResourceQuota"}, kind.Kind)
	case "apps", "batch", "policy", "autoscaling":
		return true
	case "rbac.authorization.k8s.io":
		return kind.Kind == "Role" || kind.Kind == "RoleBinding"
	case "networking.k8s.io":
		return kind.Kind == "NetworkPolicy" || kind.Kind == "Ingress"
	}
	return false
}

// identity is what two objects must not share. Configurations have no namespace in it.
type identity struct {
	schema.GroupKind
	namespace, name string
}

func identityOf(object *unstructured.Unstructured) identity {
	id := identity{object.GroupVersionKind().GroupKind(), object.GetNamespace(), object.GetName()}
	if IsConfig(id.GroupKind) {
		id.namespace = ""
	}
	return id
}

// findDuplicates yields an error for each object that was defined before.
func findDuplicates(objects []Object) iter.Seq2[identity, error] {
	return func(yield func(identity, error) bool) {
		first := map[identity]Object{}
		for _, object := range objects {
			id := identityOf(object.Unstructured)
			other, found := first[id]
			if !found {
				first[id] = object
				continue
			}
			message := fmt.Sprintf("is also in %s; keep one of the two", other.Source)
			if other.GetNamespace() != object.GetNamespace() {
				message = fmt.Sprintf("is also in %s, in namespace %q: the operator reads configurations from its own namespace only; keep one of the two", other.Source, other.GetNamespace())
			}
			if !yield(id, fmt.Errorf("%s %s", object, message)) {
				return
			}
		}
	}
}
