// Command conditions relaxes the schema of status.conditions in generated
// CustomResourceDefinitions. It runs after controller-gen, on its output directory:
//
//	controller-gen crd:maxDescLen=0 paths=./api/... output:crd:artifacts:config=config/crd/bases
//	go run ./config/crd/conditions config/crd/bases
//
// The Go type of a condition is metav1.Condition, so that the helpers of
// k8s.io/apimachinery/pkg/api/meta can be used. Its markers are stricter than stored
// objects: the upstream operator writes type, status and lastTransitionTime of a condition,
// a reason only if there is one, as free text of any length, and sometimes a severity. Such
// objects must stay valid, and that operator must be able to write its status after a
// rollback. Markers cannot change the schema of a type of another package, so this program
// does. It is idempotent.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// texts are the fields of a condition whose bounds are removed. bounds are the keywords that
// the markers of metav1.Condition add to the schema of a string.
var (
	texts  = []string{"lastTransitionTime", "message", "reason", "type"}
	bounds = []string{"format", "maxLength", "minLength", "pattern"}
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: conditions DIRECTORY")
		os.Exit(2)
	}
	if err := relaxAll(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func relaxAll(directory string) error {
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no CustomResourceDefinitions in %s", directory)
	}
	for _, file := range files {
		if err := relaxFile(file); err != nil {
			return fmt.Errorf("relax conditions in %s: %w", file, err)
		}
	}
	return nil
}

func relaxFile(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return err
	}
	versions, _, err := unstructured.NestedSlice(crd, "spec", "versions")
	if err != nil {
		return err
	}
	for _, version := range versions {
		if err := relaxVersion(version.(map[string]any)); err != nil {
			return err
		}
	}
	if err := unstructured.SetNestedSlice(crd, versions, "spec", "versions"); err != nil {
		return err
	}
	text, err = yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), text...), 0o644)
}

func relaxVersion(version map[string]any) error {
	path := []string{"schema", "openAPIV3Schema", "properties", "status", "properties", "conditions", "items"}
	condition, found, err := unstructured.NestedMap(version, path...)
	if err != nil || !found {
		return err
	}
	properties, ok := condition["properties"].(map[string]any)
	if !ok {
		return errors.New("a condition has no properties")
	}
	condition["required"] = []any{"status", "type"}
	for _, name := range texts {
		property, ok := properties[name].(map[string]any)
		if !ok {
			return fmt.Errorf("a condition has no %s", name)
		}
		for _, bound := range bounds {
			delete(property, bound)
		}
	}
	properties["severity"] = map[string]any{"type": "string"}
	return unstructured.SetNestedMap(version, condition, path...)
}
