package patch

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition/merge"
)

// maxCopied is the maximum number of bytes that the copy operations of one JSON6902 patch may
// add to an object. Without it a few of them, each doubling the last, use all memory.
const maxCopied = 1 << 20

// operation is one document of a patch that has been parsed.
type operation struct {
	patch   Patch // with the path and the text of the document
	matches func(object *unstructured.Unstructured) bool
	change  func(kind schema.GroupVersionKind, object map[string]any) (map[string]any, error)

	values, operations int // numbers of fields and of JSON6902 operations of the document
}

// parse parses the text of a patch. As in Kustomize, a list is a JSON6902 patch and needs a
// target, and an object is a strategic merge patch.
func parse(patch Patch) ([]operation, error) {
	documents, err := splitDocuments(patch.Text)
	if err != nil {
		return nil, err
	}
	var targeted func(*unstructured.Unstructured) bool
	if patch.Target != nil {
		if targeted, err = matchTarget(patch.Target); err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		if len(documents) > 1 {
			return nil, errors.New("has several documents, but a patch with a target may have only one")
		}
	}

	changes := make([]operation, 0, len(documents))
	for i, document := range documents {
		part := operation{patch: patch, matches: targeted}
		part.patch.Text = document.text
		if len(documents) > 1 {
			part.patch.Path = fmt.Sprintf("%s (document %d)", patch.Path, i+1)
		}
		err := part.parse(document.value)
		if err != nil && len(documents) > 1 {
			err = fmt.Errorf("document %d: %w", i+1, err)
		}
		if err != nil {
			return nil, err
		}
		changes = append(changes, part)
	}
	return changes, nil
}

// parse sets the change of the document, and the objects that it matches if it has no target.
func (c *operation) parse(document any) (err error) {
	switch document := document.(type) {
	case map[string]any:
		if c.matches == nil {
			if c.matches, err = matchNamed(document); err != nil {
				return err
			}
		}
		dropIdentity(document)
		c.values = countValues(document)
		c.change = func(kind schema.GroupVersionKind, object map[string]any) (map[string]any, error) {
			return merge.StrategicMerge(kind, object, document)
		}
		return nil
	case []any:
		if c.matches == nil {
			return errors.New("is a list of JSON6902 operations, which needs a target")
		}
		operations, err := parseOperations(document)
		if err != nil {
			return err
		}
		c.values, c.operations = countValues(document), len(document)
		c.change = func(kind schema.GroupVersionKind, object map[string]any) (map[string]any, error) {
			return applyOperations(operations, kind, object)
		}
		return nil
	default:
		return fmt.Errorf("must be an object (a strategic merge patch) or a list (of JSON6902 operations), not %s", merge.TypeName(document))
	}
}

// document is one YAML document of a patch.
type document struct {
	text  string
	value any
}

// splitDocuments returns the documents of a patch that are not empty.
func splitDocuments(text string) ([]document, error) {
	var documents []document
	// The reader loses the last line if it does not end with a line break and its length is a
	// multiple of the reader's buffer.
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text + "\n")))
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		asJSON, err := yaml.YAMLToJSONStrict(part)
		if err != nil {
			return nil, err
		}
		var value any
		if err := utiljson.Unmarshal(asJSON, &value); err != nil {
			return nil, err
		}
		if value != nil {
			documents = append(documents, document{string(part), value})
		}
	}
	if len(documents) == 0 {
		return nil, errors.New("is empty")
	}
	return documents, nil
}

// matchTarget compiles a target into a function that reports whether it selects an object.
func matchTarget(target *types.Selector) (func(*unstructured.Unstructured) bool, error) {
	const longest = 4096 // of a regular expression or selector, in bytes
	for _, text := range []string{target.Group, target.Version, target.Kind, target.Name, target.Namespace, target.LabelSelector, target.AnnotationSelector} {
		if len(text) > longest {
			return nil, fmt.Errorf("has a field that is longer than %d bytes", longest)
		}
	}
	regex, err := types.NewSelectorRegex(target)
	if err != nil {
		return nil, err
	}
	byLabel, err := labels.Parse(target.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("labelSelector: %w", err)
	}
	byAnnotation, err := labels.Parse(target.AnnotationSelector)
	if err != nil {
		return nil, fmt.Errorf("annotationSelector: %w", err)
	}
	return func(object *unstructured.Unstructured) bool {
		gvk := object.GroupVersionKind()
		return regex.MatchGvk(resid.Gvk{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}) &&
			regex.MatchName(object.GetName()) &&
			regex.MatchNamespace(object.GetNamespace()) &&
			(byLabel.Empty() || byLabel.Matches(labels.Set(object.GetLabels()))) &&
			(byAnnotation.Empty() || byAnnotation.Matches(labels.Set(object.GetAnnotations())))
	}, nil
}

// matchNamed returns a function that reports whether an object is the one that a strategic
// merge patch names. The namespace may be omitted, so that a patch can be used in any.
func matchNamed(document map[string]any) (func(*unstructured.Unstructured) bool, error) {
	named := unstructured.Unstructured{Object: document}
	apiVersion, kind, name, namespace := named.GetAPIVersion(), named.GetKind(), named.GetName(), named.GetNamespace()
	if apiVersion == "" || kind == "" || name == "" {
		return nil, errors.New("has no target, so it must name its object by apiVersion, kind and metadata.name")
	}
	return func(object *unstructured.Unstructured) bool {
		return object.GetAPIVersion() == apiVersion && object.GetKind() == kind && object.GetName() == name &&
			(namespace == "" || object.GetNamespace() == namespace)
	}, nil
}

// dropIdentity removes the fields from a strategic merge patch that identify the object. They
// have been used to match it, or a target is used instead.
func dropIdentity(document map[string]any) {
	delete(document, "apiVersion")
	delete(document, "kind")
	if metadata, ok := document["metadata"].(map[string]any); ok {
		delete(metadata, "name")
		delete(metadata, "namespace")
	}
}

// operationMembers has the JSON6902 operations and the member that each requires besides path.
var operationMembers = map[string]string{
	"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from", "remove": "",
}

// parseOperations validates the form of a JSON6902 patch, which the library validates only in
// part, and only when it applies an operation.
func parseOperations(list []any) (jsonpatch.Patch, error) {
	for i, item := range list {
		operation, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("operation %d: must be an object, not %s", i+1, merge.TypeName(item))
		}
		name, _ := operation["op"].(string)
		member, known := operationMembers[name]
		if !known {
			return nil, fmt.Errorf("operation %d: op must be add, remove, replace, move, copy or test, not %s", i+1, merge.Truncate(operation["op"]))
		}
		if !isPointer(operation["path"]) {
			return nil, fmt.Errorf("operation %d (%s): path must be a JSON pointer such as /spec/replicas, not %s", i+1, name, merge.Truncate(operation["path"]))
		}
		if _, present := operation[member]; member == "value" && !present {
			return nil, fmt.Errorf("operation %d (%s %s): has no value", i+1, name, operation["path"])
		}
		if member == "from" && !isPointer(operation["from"]) {
			return nil, fmt.Errorf("operation %d (%s %s): from must be a JSON pointer such as /spec/replicas, not %s",
				i+1, name, operation["path"], merge.Truncate(operation["from"]))
		}
	}
	asJSON, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return jsonpatch.DecodePatch(asJSON)
}

// isPointer reports whether a value is a JSON pointer (RFC 6901) to a part of the object. The
// empty pointer is the object itself, which a patch must not replace.
func isPointer(value any) bool {
	text, ok := value.(string)
	return ok && strings.HasPrefix(text, "/")
}

// applyOperations applies a JSON6902 patch. The result is merged over an empty base, which
// validates it in the same way as the result of a strategic merge patch.
func applyOperations(operations jsonpatch.Patch, kind schema.GroupVersionKind, object map[string]any) (map[string]any, error) {
	before, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxCopied
	after, err := operations.ApplyWithOptions(before, options)
	if err != nil {
		return nil, err
	}
	var changed map[string]any
	if err := utiljson.Unmarshal(after, &changed); err != nil {
		return nil, err
	}
	return merge.StrategicMerge(kind, nil, changed)
}
