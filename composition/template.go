package composition

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/seldon-operator/seldon-operator/composition/merge"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/lru"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	// parametersFile is the one file of a template folder that carries values: a
	// ConfigMap, marked as local configuration, whose data the folder's
	// `replacements` copy to where they belong.
	parametersFile = "parameters.yaml"

	// directivePrefix is the prefix of the annotations that a template sets for the
	// engine. They are read when the template is compiled and never reach the cluster.
	directivePrefix = "composition.seldon-operator.dev/"
	// restartOnChangeDirective on a ConfigMap or Secret: pods read it only when they
	// start, so a change of its content restarts the workloads that refer to it.
	restartOnChangeDirective = directivePrefix + "restart-on-change"
	// initialOnlyFieldsDirective on any object holds the dotted path of a field that is
	// sent when the object is created and when its desired value changes. In between,
	// other field managers may set it.
	initialOnlyFieldsDirective = directivePrefix + "initial-only-fields"
)

// Frame is one use of a template: a Kustomize folder, the Kustomize Components
// below it that are wanted, and the values of its parameters.
type TemplateRef struct {
	// Template is the folder, relative to the root of the renderer's file system.
	Template string
	// Components are folders under Template's `components`, each a Kustomize
	// Component. Their order has no meaning.
	Components []string
	// Values by parameter name. Every parameter of the variant needs one.
	Parameters map[string]string
}

// Templates compiles Kustomize folders and binds them to values.
//
// Kustomize runs once per variant (a template and the set of its components),
// when that variant is first asked for, on parameters that are placeholders;
// what it gives is kept. Binding copies it and fills the placeholders in, in
// memory, so that a value is never pasted into YAML text: a name such as `true`
// or `1e3` stays a string. Templates is safe for concurrent use.
type Templates struct {
	fsys filesys.FileSystem

	mu       sync.Mutex
	variants map[string]*variant
	// layered are variants with a shared layer in them; see bindWith.
	layered *lru.Cache
}

// layeredVariants bounds how many variants with a layer are kept: one for each
// workload of each configuration in use, and room for a few versions.
const layeredVariants = 512

// NewTemplates reads the folders of fsys, usually an embed.FS.
func NewTemplates(fsys fs.FS) (*Templates, error) {
	memory := filesys.MakeFsInMemory()
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return memory.WriteFile(path.Join("/", name), content)
	})
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	return &Templates{fsys: memory, variants: map[string]*variant{}, layered: lru.New(layeredVariants)}, nil
}

// Bind renders frame into namespace. The objects share what no parameter is part
// of with other bindings: it is not to be changed, see setField.
//
// Errors: a folder that Kustomize refuses, a parameter without a value, a value
// for no parameter.
func (t *Templates) Instantiate(frame TemplateRef, namespace string) ([]object.Object, error) {
	v, err := t.compiled(frame)
	if err != nil {
		return nil, err
	}
	values, err := v.values(frame, namespace)
	if err != nil {
		return nil, err
	}
	return v.bind(values), nil
}

// values puts those of frame in the order of the variant's parameters.
func (v *variant) values(frame TemplateRef, namespace string) ([]string, error) {
	values := make([]string, len(v.parameters))
	for i, name := range v.parameters {
		value, found := frame.Parameters[name]
		switch {
		case name == namespaceParameter:
			value = namespace
		case !found:
			return nil, fmt.Errorf("template %s: parameter %q has no value", frame.Template, name)
		}
		values[i] = value
	}
	for name := range frame.Parameters {
		if !slices.Contains(v.parameters, name) {
			return nil, fmt.Errorf("template %s: has no parameter %q", frame.Template, name)
		}
	}
	return values, nil
}

func (v *variant) bind(values []string) []object.Object {
	children := make([]object.Object, len(v.objects))
	for i, obj := range v.objects {
		children[i] = object.Object{
			Object:           &unstructured.Unstructured{Object: obj.content.bind(values).(map[string]any)},
			RestartOnChange:  obj.rollReaders,
			InitialOnlyField: obj.seed,
		}
	}
	return children
}

// namespaceParameter is the one parameter that no file declares: Kustomize's own
// namespace transformer carries it to wherever a namespace belongs.
const namespaceParameter = "namespace"

// variant is a template as Kustomize rendered it, with holes where parameters go.
type variant struct {
	parameters []string
	objects    []compiledObject
}

type compiledObject struct {
	content     node
	rollReaders bool
	seed        string
}

// compiled gives the variant of frame, running Kustomize if this is its first use.
func (t *Templates) compiled(frame TemplateRef) (*variant, error) {
	components := slices.Sorted(slices.Values(frame.Components))
	key := frame.Template + "?" + strings.Join(components, ",")

	// The lock is held while Kustomize runs: it happens a handful of times in a
	// process, and Kustomize's global schema is read without locks
	// (kubernetes-sigs/kustomize#3659).
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, found := t.variants[key]; found {
		return v, nil
	}
	v, err := t.compile(frame.Template, components)
	if err != nil {
		return nil, fmt.Errorf("compile template %s: %w", key, err)
	}
	t.variants[key] = v
	return v, nil
}

// compile runs Kustomize on placeholders and finds them again in the output.
func (t *Templates) compile(template string, components []string) (*variant, error) {
	folders := []string{template}
	for _, component := range components {
		folders = append(folders, path.Join(template, "components", component))
	}
	names := []string{namespaceParameter}
	for _, folder := range folders {
		declared, err := t.declaredParameters(folder)
		if err != nil {
			return nil, err
		}
		names = append(names, declared...)
	}
	slices.Sort(names)
	names = slices.Compact(names)

	placeholders := make(map[string]string, len(names))
	for i, name := range names {
		placeholders[name] = placeholder(i)
	}
	objects, err := t.kustomize(template, components, placeholders)
	if err != nil {
		return nil, err
	}
	v := &variant{parameters: names}
	for _, obj := range objects {
		annotations := obj.GetAnnotations()
		compiled := compiledObject{
			rollReaders: annotations[restartOnChangeDirective] == "true",
			seed:        annotations[initialOnlyFieldsDirective],
		}
		if err := checkSeed(obj.GroupVersionKind(), compiled.seed); err != nil {
			return nil, fmt.Errorf("%s %s: annotation %s: %w", obj.GetKind(), obj.GetName(), initialOnlyFieldsDirective, err)
		}
		stripDirectives(obj)
		compiled.content, err = compileNode(obj.Object, len(names))
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		v.objects = append(v.objects, compiled)
	}
	return v, nil
}

// checkSeed refuses a path that no object of the kind has. Names with dots cannot be
// part of it, and of kinds that are not built in the names are not known.
func checkSeed(kind schema.GroupVersionKind, path string) error {
	if path == "" {
		return nil
	}
	return merge.ValidateScalarPath(kind, path)
}

// kustomize is a plain Kustomize run of template with components, parameters
// having the given values. It is also the oracle that binding is tested against.
func (t *Templates) kustomize(template string, components []string, values map[string]string) (objects []*unstructured.Unstructured, err error) {
	// Kustomize reports some malformed input by panicking.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("kustomize: %v", r)
		}
	}()
	fsys := filesys.MakeFsInMemory()
	root := path.Join("/", template)
	if err := t.copyFolder(fsys, root, values); err != nil {
		return nil, err
	}
	overlay := types.Kustomization{
		TypeMeta:  types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
		Resources: []string{".." + root},
		Namespace: values[namespaceParameter],
	}
	for _, component := range components {
		overlay.Components = append(overlay.Components, path.Join("..", root, "components", component))
	}
	text, err := yaml.Marshal(overlay)
	if err != nil {
		return nil, err
	}
	if err := fsys.WriteFile("/variant/kustomization.yaml", text); err != nil {
		return nil, err
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fsys, "/variant")
	if err != nil {
		return nil, err
	}
	for _, resource := range resources.Resources() {
		// Through JSON, because Kustomize's own maps hold Go ints, which
		// unstructured objects cannot copy.
		text, err := resource.MarshalJSON()
		if err != nil {
			return nil, err
		}
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		objects = append(objects, obj)
	}
	return objects, nil
}

// copyFolder puts the folder at root into fsys, with values in its parameter files.
func (t *Templates) copyFolder(fsys filesys.FileSystem, root string, values map[string]string) error {
	return t.fsys.Walk(root, func(name string, info fs.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := t.fsys.ReadFile(name)
		if err != nil {
			return err
		}
		if path.Base(name) == parametersFile {
			if content, err = withValues(content, values); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return fsys.WriteFile(name, content)
	})
}

// declaredParameters lists the keys of a folder's parameter file, if it has one.
func (t *Templates) declaredParameters(folder string) ([]string, error) {
	name := path.Join("/", folder, parametersFile)
	if !t.fsys.Exists(name) {
		return nil, nil
	}
	content, err := t.fsys.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var file struct{ Data map[string]string }
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	names := make([]string, 0, len(file.Data))
	for key := range file.Data {
		names = append(names, key)
	}
	return names, nil
}

// withValues gives a parameter file other values.
func withValues(content []byte, values map[string]string) ([]byte, error) {
	file := map[string]any{}
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, err
	}
	data, _ := file["data"].(map[string]any)
	for key := range data {
		if value, found := values[key]; found {
			data[key] = value
		}
	}
	return yaml.Marshal(file)
}

func stripDirectives(obj *unstructured.Unstructured) {
	annotations := obj.GetAnnotations()
	for key := range annotations {
		if strings.HasPrefix(key, directivePrefix) {
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		annotations = nil // SetAnnotations then removes the field
	}
	obj.SetAnnotations(annotations)
}
