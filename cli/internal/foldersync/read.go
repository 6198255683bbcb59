package foldersync

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/relay"
)

// Files are what [Read] reads.
type Files struct {
	// Paths of files and folders; "-" is the standard input.
	Paths []string
	// Recursive reads folders below those of Paths. Files and folders whose names begin with
	// a dot are not read: a ConfigMap that is mounted has its content twice.
	Recursive bool
	In        io.Reader
	// Namespace of all objects. Objects of other namespaces are invalid.
	Namespace string
}

// Contents are the objects in files.
type Contents struct {
	// Objects are the valid Models, Pipelines, Experiments and Servers, also those in
	// spec.servers of SeldonRuntimes. Objects of other kinds are omitted.
	Objects []client.Object
	// Err has all that is unreadable or invalid, joined.
	Err error
}

// Read reads and validates files.
func Read(files Files) Contents {
	paths, err := files.expand()
	errs := []error{err}
	if len(paths) == 0 {
		return Contents{Err: errors.Join(errs...)}
	}
	loaded, err := manifest.Load(manifest.Options{
		FilenameOptions: resource.FilenameOptions{Filenames: paths}, In: files.In, Namespace: files.Namespace,
	})
	errs = append(errs, err)
	contents := Contents{}
	sources := map[Key]string{}
	add := func(object client.Object, source string) {
		key := KeyOf(object)
		if other, found := sources[key]; found {
			errs = append(errs, fmt.Errorf("%s: Server %s is also in %s; keep one of the two", source, object.GetName(), other))
			contents.Objects = slices.DeleteFunc(contents.Objects, func(each client.Object) bool { return KeyOf(each) == key })
			return
		}
		sources[key] = source
		contents.Objects = append(contents.Objects, object)
	}
	var runtimes []manifest.Object
	for _, object := range loaded {
		if object.Typed == nil || manifest.IsConfig(object.GroupVersionKind().GroupKind()) {
			continue
		}
		if namespace := object.GetNamespace(); namespace != files.Namespace {
			errs = append(errs, fmt.Errorf("%s is in namespace %s, and the scheduler serves namespace %s: set -n %s, or remove metadata.namespace", object, namespace, files.Namespace, namespace))
			continue
		}
		if _, is := object.Typed.(*v1alpha1.SeldonRuntime); is {
			runtimes = append(runtimes, object)
			continue
		}
		add(object.Typed, object.Source)
	}
	for _, object := range runtimes {
		runtime, _ := object.Typed.(*v1alpha1.SeldonRuntime)
		for i := range runtime.Spec.Servers {
			each := &runtime.Spec.Servers[i]
			add(&v1alpha1.Server{
				ObjectMeta: metav1.ObjectMeta{Name: each.Name, Namespace: runtime.Namespace}, Spec: each.ServerSpec,
			}, fmt.Sprintf("%s: SeldonRuntime %s: spec.servers[%d]", object.Source, runtime.Name, i))
		}
	}
	contents.Err = errors.Join(errs...)
	return contents
}

// Key identifies an object in a namespace.
type Key struct {
	Kind relay.Kind
	Name string
}

// String returns "<kind> <name>".
func (k Key) String() string { return string(k.Kind) + " " + k.Name }

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// KeyOf returns the key of a Model, Pipeline, Experiment or Server.
func KeyOf(object client.Object) Key {
	kind := relay.Server
	switch object.(type) {
	case *v1alpha1.Model:
		kind = relay.Model
	case *v1alpha1.Pipeline:
		kind = relay.Pipeline
	case *v1alpha1.Experiment:
		kind = relay.Experiment
	}
	return Key{kind, object.GetName()}
}

// expand returns the files to read, in the order of their paths. A path that does not exist
// is an error; the other files are returned nevertheless.
func (f *Files) expand() ([]string, error) {
	var paths []string
	var errs []error
	for _, path := range f.Paths {
		info, err := os.Stat(path)
		switch {
		case path == "-" || strings.Contains(path, "://"):
			paths = append(paths, path)
		case err != nil:
			errs = append(errs, fmt.Errorf("read the files: %w", err))
		case info.IsDir():
			below, err := f.walk(path)
			paths = append(paths, below...)
			errs = append(errs, err)
		default:
			paths = append(paths, path)
		}
	}
	return paths, errors.Join(errs...)
}

// walk returns the manifests in a folder.
func (f *Files) walk(folder string) (paths []string, _ error) {
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read the files: %w", err)
		case path == folder:
			return nil
		case entry.IsDir() && (!f.Recursive || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || !slices.Contains(resource.FileExtensions, filepath.Ext(path)):
			return nil
		}
		paths = append(paths, path)
		return nil
	})
	return paths, err
}

// folders returns the folders whose changes may change the files.
func (f *Files) folders() []string {
	var folders []string
	for _, path := range f.Paths {
		info, err := os.Stat(path)
		switch {
		case err != nil || !info.IsDir():
			folders = append(folders, filepath.Dir(path))
		case !f.Recursive:
			folders = append(folders, path)
		default:
			_ = filepath.WalkDir(path, func(below string, entry fs.DirEntry, err error) error {
				if err != nil || !entry.IsDir() {
					return nil //nolint:nilerr // Read reports it
				}
				if below != path && strings.HasPrefix(entry.Name(), ".") {
					return fs.SkipDir
				}
				folders = append(folders, below)
				return nil
			})
		}
	}
	return folders
}

// state returns a text that differs when a file was added, removed or changed.
func (f *Files) state() string {
	paths, err := f.expand()
	var text strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&text, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
	}
	fmt.Fprint(&text, err)
	return text.String()
}
