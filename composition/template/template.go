package template

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/lru"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition/merge"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

const (
	// parametersFile is the one file of a template folder that has values: a ConfigMap,
	// marked as local configuration, whose data the folder's `replacements` copy to where
	// they belong.
	parametersFile = "parameters.yaml"

	// Annotations of objects in templates, below the prefix of the [Set]. They are read when
	// the template is compiled, and are not on the rendered objects.

	// restartOnChange on a ConfigMap or Secret: pods read it only when they start, so that a
	// change restarts the workloads that refer to it.
	restartOnChange = "restart-on-change"
	// initialOnlyFields on any object has the dotted path of a field that is sent when the
	// object is created and when its desired value changes; in between, other managers may
	// change it.
	initialOnlyFields = "initial-only-fields"

	// namespaceParameter is the one parameter that no file declares: Kustomize's own
	// namespace transformer sets it wherever a namespace belongs.
	namespaceParameter = "namespace"

	// mergedCacheSize bounds how many templates with a layer in them are kept: one for each
	// workload of each configuration in use, and space for a few versions.
	mergedCacheSize = 512
)

// Ref is one use of a template: a Kustomize folder, some of its Components, and the values
// of its parameters.
type Ref struct {
	// Folder is relative to the root of the set's file system.
	Folder string
	// Components are folders under `components` of Folder, each a Kustomize Component. Their
	// order has no meaning.
	Components []string
	// Parameters are values by name. Each parameter that Folder and Components declare must
	// have one.
	Parameters map[string]string
}

// Set has the templates of a file system. It is safe for concurrent use.
//
// Kustomize runs once for a folder with a set of components, when that is first needed, on
// parameters that are placeholders. The result is kept; to instantiate it is to copy it and
// to replace the placeholders in memory, so that a value is never pasted into YAML text: a
// name such as `true` or `1e3` stays a string.
type Set struct {
	files  filesys.FileSystem
	prefix string

	mu       sync.Mutex
	compiled map[string]*compiledTemplate
	// merged are compiled templates with a shared layer in them; see instantiateWith.
	merged *lru.Cache
}

// Load reads the folders of fsys, usually an embed.FS. annotationPrefix, such as
// `example.com/`, is that of the annotations by which objects in templates set options of
// the engine: restart-on-change and initial-only-fields.
func Load(fsys fs.FS, annotationPrefix string) (*Set, error) {
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
	return &Set{files: memory, prefix: annotationPrefix, compiled: map[string]*compiledTemplate{}, merged: lru.New(mergedCacheSize)}, nil
}

// Instantiate returns the objects of a template in a namespace. They share everything that
// has no parameter with other instances, and must be copied before they are changed.
//
// Errors: Kustomize's own, a parameter without a value, a value for no parameter.
func (s *Set) Instantiate(ref Ref, namespace string) ([]object.Object, error) {
	compiled, err := s.compile(ref)
	if err != nil {
		return nil, err
	}
	values, err := compiled.values(ref, namespace)
	if err != nil {
		return nil, err
	}
	return compiled.instantiate(values), nil
}

// compiledTemplate is the output of Kustomize, with placeholders for parameters.
type compiledTemplate struct {
	parameters []string
	objects    []compiledObject
}

type compiledObject struct {
	content          node
	restartOnChange  bool
	initialOnlyField string
}

// values returns the parameters of ref in the order of the template's parameters.
func (c *compiledTemplate) values(ref Ref, namespace string) ([]string, error) {
	values := make([]string, len(c.parameters))
	for i, name := range c.parameters {
		value, found := ref.Parameters[name]
		switch {
		case name == namespaceParameter:
			value = namespace
		case !found:
			return nil, fmt.Errorf("template %s: parameter %q has no value", ref.Folder, name)
		}
		values[i] = value
	}
	for name := range ref.Parameters {
		if !slices.Contains(c.parameters, name) {
			return nil, fmt.Errorf("template %s: has no parameter %q", ref.Folder, name)
		}
	}
	return values, nil
}

// instantiate replaces the placeholders by values.
func (c *compiledTemplate) instantiate(values []string) []object.Object {
	objects := make([]object.Object, len(c.objects))
	for i, each := range c.objects {
		objects[i] = object.Object{
			Object:           &unstructured.Unstructured{Object: each.content.instantiate(values).(map[string]any)},
			RestartOnChange:  each.restartOnChange,
			InitialOnlyField: each.initialOnlyField,
		}
	}
	return objects
}

// compile returns the compiled template of ref, and runs Kustomize on its first use.
func (s *Set) compile(ref Ref) (*compiledTemplate, error) {
	components := slices.Sorted(slices.Values(ref.Components))
	key := ref.Folder + "?" + strings.Join(components, ",")

	// The lock is held while Kustomize runs: that happens a few times in a process, and
	// Kustomize's global schema is read without locks (kubernetes-sigs/kustomize#3659).
	s.mu.Lock()
	defer s.mu.Unlock()
	if compiled, found := s.compiled[key]; found {
		return compiled, nil
	}
	compiled, err := s.compileFolder(ref.Folder, components)
	if err != nil {
		return nil, fmt.Errorf("compile template %s: %w", key, err)
	}
	s.compiled[key] = compiled
	return compiled, nil
}

// compileFolder runs Kustomize on placeholders, and finds these in its output.
func (s *Set) compileFolder(folder string, components []string) (*compiledTemplate, error) {
	folders := []string{folder}
	for _, component := range components {
		folders = append(folders, path.Join(folder, "components", component))
	}
	names := []string{namespaceParameter}
	for _, each := range folders {
		declared, err := s.declaredParameters(each)
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
	objects, err := s.kustomize(folder, components, placeholders)
	if err != nil {
		return nil, err
	}
	compiled := &compiledTemplate{parameters: names}
	for _, each := range objects {
		annotations := each.GetAnnotations()
		of := compiledObject{
			restartOnChange:  annotations[s.prefix+restartOnChange] == "true",
			initialOnlyField: annotations[s.prefix+initialOnlyFields],
		}
		if of.initialOnlyField != "" {
			if err := merge.ValidateScalarPath(each.GroupVersionKind(), of.initialOnlyField); err != nil {
				return nil, fmt.Errorf("%s %s: annotation %s: %w", each.GetKind(), each.GetName(), s.prefix+initialOnlyFields, err)
			}
		}
		s.stripAnnotations(each)
		of.content, err = compileNode(each.Object, len(names))
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", each.GetKind(), each.GetName(), err)
		}
		compiled.objects = append(compiled.objects, of)
	}
	return compiled, nil
}

// kustomize runs Kustomize on a folder with components and values of parameters. Tests
// compare instances with its output.
func (s *Set) kustomize(template string, components []string, values map[string]string) (objects []*unstructured.Unstructured, err error) {
	// Kustomize reports some malformed input by panicking.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("kustomize: %v", r)
		}
	}()
	fsys := filesys.MakeFsInMemory()
	root := path.Join("/", template)
	if err := s.copyFolder(fsys, root, values); err != nil {
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
func (s *Set) copyFolder(fsys filesys.FileSystem, root string, values map[string]string) error {
	return s.files.Walk(root, func(name string, info fs.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := s.files.ReadFile(name)
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
func (s *Set) declaredParameters(folder string) ([]string, error) {
	name := path.Join("/", folder, parametersFile)
	if !s.files.Exists(name) {
		return nil, nil
	}
	content, err := s.files.ReadFile(name)
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

// stripAnnotations removes the annotations that the set reads.
func (s *Set) stripAnnotations(obj *unstructured.Unstructured) {
	annotations := obj.GetAnnotations()
	for _, name := range []string{restartOnChange, initialOnlyFields} {
		delete(annotations, s.prefix+name)
	}
	if len(annotations) == 0 {
		annotations = nil // SetAnnotations then removes the field
	}
	obj.SetAnnotations(annotations)
}
