package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldError is what is wrong with a field of an object.
type fieldError struct {
	// path of the field, such as spec.steps[0].name; empty for the object.
	path, message string
}

func (e fieldError) Error() string {
	if e.path == "" {
		return e.message
	}
	return e.path + ": " + e.message
}

// InvalidError is what is wrong with a field of an object in a file.
type InvalidError struct {
	Object Object
	// Line of the field in the file, or of the closest field above it that the file has; 0 if
	// the source is not a local file.
	Line int
	// Path of the field, such as spec.steps[0].name; empty for the object.
	Path string
	// Message says what is wrong.
	Message string
}

func (e *InvalidError) Error() string {
	source := e.Object.Source
	if e.Line > 0 {
		source = fmt.Sprintf("%s:%d", e.Object.file, e.Line)
	}
	return fmt.Sprintf("%s: %s: %v", source, describe(e.Object.Unstructured), fieldError{e.Path, e.Message})
}

// invalid returns an error for each of errs.
func (o *Object) invalid(errs ...fieldError) error {
	root := o.node()
	joined := make([]error, len(errs))
	for i, each := range errs {
		joined[i] = &InvalidError{Object: *o, Line: lineOf(root, each.path), Path: each.path, Message: each.message}
	}
	return errors.Join(joined...)
}

// node returns the YAML node of an object in a local file; nil if there is none.
func (o *Object) node() *yaml.Node {
	text, err := os.ReadFile(o.file)
	if err != nil {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for number := o.number; ; {
		document := &yaml.Node{}
		if err := decoder.Decode(document); err != nil {
			return nil // io.EOF, or the file has changed meanwhile
		}
		for _, object := range objectsOf(document) {
			if number--; number == 0 {
				return object
			}
		}
	}
}

// objectsOf returns the objects in a document, those of a list one by one.
func objectsOf(document *yaml.Node) []*yaml.Node {
	if document.Kind != yaml.DocumentNode || len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	root := document.Content[0]
	scalar := func(key string) string {
		if _, value := childOf(root, key); value != nil {
			return value.Value
		}
		return ""
	}
	if strings.HasPrefix(scalar("apiVersion"), kustomizeGroup+"/") {
		return nil
	}
	if _, items := childOf(root, "items"); items != nil && strings.HasSuffix(scalar("kind"), "List") {
		return items.Content
	}
	return []*yaml.Node{root}
}

// childOf returns the nodes of a key of a mapping and of its value; nil if there is none.
func childOf(mapping *yaml.Node, key string) (name, value *yaml.Node) {
	if mapping.Kind == yaml.AliasNode {
		mapping = mapping.Alias
	}
	if mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

var pathElement = regexp.MustCompile(`^(?:\.?([^.\[\]]+)|\[([^\]]*)\])`)

// lineOf returns the line of the field at a path below root, or of the closest field above it
// that exists; 0 without a root.
func lineOf(root *yaml.Node, path string) int {
	if root == nil {
		return 0
	}
	line, at := root.Line, root
	for path != "" && at != nil {
		match := pathElement.FindStringSubmatch(path)
		if match == nil {
			break
		}
		path = path[len(match[0]):]
		key := match[1] + match[2]
		if at.Kind == yaml.AliasNode {
			at = at.Alias
		}
		if index, err := strconv.Atoi(key); err == nil && match[1] == "" && at.Kind == yaml.SequenceNode {
			if index >= len(at.Content) {
				break
			}
			at = at.Content[index]
			line = at.Line
			continue
		}
		name, value := childOf(at, key)
		if name != nil {
			line = name.Line
		}
		at = value
	}
	return line
}
