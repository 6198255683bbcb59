package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// readManifests reads the objects in the files that the patterns match.
func readManifests(patterns ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", pattern, err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("read %s: there is no such file; paths are relative to the root of the repository, "+
				"where the demo is run", pattern)
		}
		for _, file := range files {
			inFile, err := readManifest(file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			objects = append(objects, inFile...)
		}
	}
	return objects, nil
}

func readManifest(file string) ([]*unstructured.Unstructured, error) {
	content, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(content, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(&object.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(object.Object) > 0: // else a document of comments
			objects = append(objects, object)
		}
	}
}

// buildManifests builds the objects of a folder with a kustomization, in the
// order in which `kustomize build` prints them: namespaces first.
func buildManifests(folder string) ([]*unstructured.Unstructured, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", folder, err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range built.Resources() {
		content, err := resource.Map()
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", folder, err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects, nil
}

// theRuntime finds the one SeldonRuntime among objects.
func theRuntime(objects []*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GroupVersionKind() == runtimeKind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("there are %d SeldonRuntimes, and one is needed", len(found))
	}
	return found[0], nil
}

// create creates objects, in a namespace unless that is empty. The cluster is
// new, so none of them is there.
func (d *demo) create(ctx context.Context, namespace string, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		if namespace != "" {
			object.SetNamespace(namespace)
		}
		if err := d.client.Create(ctx, object); err != nil {
			return fmt.Errorf("create %s: %w", listed(object), err)
		}
	}
	return nil
}

// servedTimeout bounds how long the API server may take from a definition to
// serving its kind.
const servedTimeout = time.Minute

// untilServed waits until the API server serves every kind that the definitions
// define. For each the first request is told to come again after a second, so
// the kinds are waited for side by side.
func (d *demo) untilServed(ctx context.Context, crds []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	errs := make([]error, len(crds))
	var waiting sync.WaitGroup
	for i, crd := range crds {
		waiting.Go(func() {
			kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
			var last error
			if !until(ctx, func() bool { last = d.client.List(ctx, list); return last == nil }) {
				errs[i] = fmt.Errorf("wait until %s is served: %w", kind, last)
			}
		})
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// listed names objects by kind and name.
func listed(objects ...*unstructured.Unstructured) string {
	names := make([]string, len(objects))
	for i, object := range objects {
		names[i] = object.GetKind() + " " + object.GetName()
	}
	return strings.Join(names, ", ")
}
