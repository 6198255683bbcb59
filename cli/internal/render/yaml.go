package render

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// PrintYAML writes objects as YAML documents, with a comment before the first of each wave.
// With sources, a comment at the end of a line names the source of a field if it is not that
// of the map or list that contains it, and comments before an object name its template and the
// fields that a layer removed.
func PrintYAML(out io.Writer, objects []Object) error {
	wave := object.Wave(-1)
	for _, each := range objects {
		text := "---\n"
		if current := object.WaveOf(each.GroupVersionKind().GroupKind()); current != wave {
			wave = current
			text += fmt.Sprintf("# Wave: %s\n", wave)
		}
		content, err := marshal(each)
		if err != nil {
			return fmt.Errorf("%s: %w", object.RefOf(each.Unstructured), err)
		}
		if _, err := io.WriteString(out, text+content); err != nil {
			return err
		}
	}
	return nil
}

// marshal returns an object as YAML.
func marshal(each Object) (string, error) {
	if each.Sources == nil {
		text, err := sigsyaml.Marshal(each.Object)
		return string(text), err
	}
	document := &yaml.Node{}
	if err := document.Encode(each.Object); err != nil {
		return "", err
	}
	comment(document, each.Sources, each.Template)
	text := &strings.Builder{}
	encoder := yaml.NewEncoderWithOptions(text, &yaml.EncoderOptions{SeqIndent: yaml.CompactSequenceStyle})
	if err := encoder.Encode(document); err != nil {
		return "", err
	}
	head := &strings.Builder{}
	fmt.Fprintf(head, "# From %s\n", each.Template)
	for _, removed := range each.Removed {
		fmt.Fprintf(head, "# Removed by %s: %s\n", removed.Source, removed.Path)
	}
	return head.String() + text.String(), nil
}

// comment adds comments to the parts of a value. shown is the source that a reader of the
// lines above knows.
func comment(value *yaml.Node, sources *provenance.Node, shown string) {
	switch value.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(value.Content); i += 2 {
			key, below := value.Content[i], value.Content[i+1]
			source := provenance.Engine
			var node *provenance.Node
			if sources != nil {
				if node = sources.Fields[key.Value]; node != nil {
					source = node.Source.String()
				}
			}
			commentLine(key, below, source, shown)
			comment(below, node, source)
		}
	case yaml.SequenceNode:
		for i, item := range value.Content {
			var node *provenance.Node
			source := provenance.Engine
			if sources != nil && i < len(sources.Items) {
				node = sources.Items[i]
				source = node.Source.String()
			}
			if item.Kind == yaml.ScalarNode {
				commentLine(nil, item, source, shown)
			}
			comment(item, node, shown)
		}
	default: // scalars have no parts
	}
}

// commentLine adds a comment to the line of a field or item, unless its source is shown.
func commentLine(key, value *yaml.Node, source, shown string) {
	if source == shown {
		return
	}
	switch {
	case value.Kind == yaml.ScalarNode && value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		value.LineComment = source
	case key != nil && value.Kind != yaml.ScalarNode && len(value.Content) > 0:
		key.LineComment = source
	case key != nil:
		key.HeadComment = source
	default:
		value.HeadComment = source
	}
}
