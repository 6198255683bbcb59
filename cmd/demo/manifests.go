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
			return nil, fmt.Errorf("read %s: no file matches; paths are relative to the root of the repository, "+
				"in which the demo must run", pattern)
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
		case len(object.Object) > 0: // not a document with comments only
			objects = append(objects, object)
		}
	}
}

// buildManifests builds a kustomization. The objects have the order of `kustomize
// build`: namespaces first.
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

// findRuntime returns the only SeldonRuntime in objects.
func findRuntime(objects []*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GroupVersionKind() == runtimeKind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("the file has %d SeldonRuntimes, but must have one", len(found))
	}
	return found[0], nil
}

// create creates objects, in a namespace unless that is empty.
func (d *demo) create(ctx context.Context, namespace string, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		if namespace != "" {
			object.SetNamespace(namespace)
		}
		if err := d.client.Create(ctx, object); err != nil {
			return fmt.Errorf("create %s: %w", refs(object), err)
		}
	}
	return nil
}

// servedTimeout is the timeout for the API server to serve a new kind.
const servedTimeout = time.Minute

// awaitServed waits until the API server serves every kind of the CRDs. It waits for them
// in parallel, since the first request for each kind is delayed by a second.
func (d *demo) awaitServed(ctx context.Context, crds []*unstructured.Unstructured) error {
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
			if !poll(ctx, func() bool { last = d.client.List(ctx, list); return last == nil }) {
				errs[i] = fmt.Errorf("wait until %s is served: %w", kind, last)
			}
		})
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// refs returns the kinds and names of objects.
func refs(objects ...*unstructured.Unstructured) string {
	names := make([]string, len(objects))
	for i, object := range objects {
		names[i] = object.GetKind() + " " + object.GetName()
	}
	return strings.Join(names, ", ")
}
