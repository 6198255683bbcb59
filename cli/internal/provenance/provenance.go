// Package provenance computes which layer sets each field of the objects that an input of
// the engine renders: a template, an overlay of a layer, or a patch.
//
// It carries out the steps of rendering one by one, by the functions that the engine uses. A
// field belongs to the last step that changed its value.
package provenance

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/merge"
	"github.com/seldon-operator/seldon-operator/composition/patch"
)

// Engine is the layer of the fields that the engine adds to what is rendered: its label, the
// owner reference, and hashes of configuration.
const Engine = "engine"

// Source is where the value of a field comes from. The zero value means that no layer sets
// the field.
type Source struct {
	// Layer is "template <folder>", the name of a layer such as "SeldonRuntime team-a/seldon",
	// or [Engine].
	Layer string `json:"layer"`
	// Path is the path of the value in the layer, such as spec.components[2].podSpec or
	// spec.patches[0]; of a template, "parameter <name>" or empty.
	Path string `json:"path,omitempty"`
	// Index is the position among the steps of rendering, from the templates to the last
	// patch.
	Index int `json:"index"`
}

// String returns the layer and the path.
func (s Source) String() string { return strings.TrimSpace(s.Layer + " " + s.Path) }

// Node is the source of a value and of its parts.
type Node struct {
	// Source of a scalar; of a map or a list, that which first had it.
	Source Source
	Fields map[string]*Node // of a map
	Items  []*Node          // of a list
	// Overridden are what lower layers set a scalar to, from the lowest.
	Overridden []Setting
}

// Setting is a value of a field and where it is from.
type Setting struct {
	Source Source
	Value  any
}

// Refinement returns a more exact source of a field; source is that which the steps of
// rendering show.
type Refinement func(ref composition.ObjectRef, path fields.Path, source Source) Source

// Origins are the sources of all fields of rendered objects.
type Origins struct {
	options composition.Options
	objects map[composition.ObjectRef]*object
}

// object is an object while it is rendered.
type object struct {
	ref     composition.ObjectRef
	content map[string]any
	node    *Node
	removed []Removal
}

// Of computes the sources of an input that can be rendered.
func Of(templates *composition.Templates, input composition.Input, options composition.Options, refinements ...Refinement) (*Origins, error) {
	b := &builder{origins: &Origins{options: options, objects: map[composition.ObjectRef]*object{}}}
	for _, ref := range input.Templates {
		if err := b.addTemplate(templates, ref, input.Namespace); err != nil {
			return nil, err
		}
	}
	for _, layer := range input.Layers {
		if err := b.mergeLayer(layer); err != nil {
			return nil, err
		}
	}
	for _, each := range input.Patches {
		if err := b.applyPatch(each); err != nil {
			return nil, err
		}
	}
	for _, rendered := range b.objects {
		for _, refine := range refinements {
			rendered.node.refine(rendered, nil, merge.SchemaOf(rendered.ref.GroupVersionKind), rendered.content, refine)
		}
	}
	return b.origins, nil
}

// Node returns the sources of an object's fields; nil if the object is not rendered.
func (o *Origins) Node(ref composition.ObjectRef) *Node {
	if found := o.objects[ref]; found != nil {
		return found.node
	}
	return nil
}

// Object returns the rendered object; nil if it is not rendered. It must not be changed.
func (o *Origins) Object(ref composition.ObjectRef) *unstructured.Unstructured {
	if found := o.objects[ref]; found != nil {
		return &unstructured.Unstructured{Object: found.content}
	}
	return nil
}

// Field returns the source of the field at a path; see [fields.Find]. Of a field that is
// not rendered, it is the step that removed it, or else the source of the deepest map or list
// on the path that is rendered. It is zero for an object that is not rendered.
func (o *Origins) Field(ref composition.ObjectRef, path string) Source {
	found := o.objects[ref]
	if found == nil {
		return Source{}
	}
	_, steps, exists, err := fields.Find(found.content, path)
	if err != nil {
		return Source{}
	}
	if !exists {
		if o.isEngines(path) {
			return Source{Layer: Engine}
		}
		for _, each := range found.removed {
			if each.covers(path) {
				return each.Source
			}
		}
	}
	return found.node.at(steps).Source
}

// Removal is a field that a step of rendering removed.
type Removal struct {
	Path   string
	Source Source
}

// covers reports whether the field at path was removed, by itself or with a map or list that
// contained it.
func (r Removal) covers(path string) bool {
	rest, is := strings.CutPrefix(path, r.Path)
	return is && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Removed lists the fields of an object that lower layers set, that a layer or patch removed,
// and that no later one set again; the last removal first.
func (o *Origins) Removed(ref composition.ObjectRef) []Removal {
	found := o.objects[ref]
	if found == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(found.removed), func(each Removal) bool {
		_, _, exists, err := fields.Find(found.content, each.Path)
		return exists || err != nil
	})
}

// Lookup returns the sources of the value at a path; nil if it is not rendered.
func (o *Origins) Lookup(ref composition.ObjectRef, path string) *Node {
	found := o.objects[ref]
	if found == nil {
		return nil
	}
	if _, steps, exists, err := fields.Find(found.content, path); err == nil && exists {
		return found.node.at(steps)
	}
	return nil
}

// at returns the node that steps lead to.
func (n *Node) at(steps []any) *Node {
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			n = n.Fields[step]
		case int:
			n = n.Items[step]
		}
	}
	return n
}

// isEngines reports whether the engine sets the field at a path, which is not rendered.
func (o *Origins) isEngines(path string) bool {
	return strings.HasPrefix(path, "metadata.ownerReferences") || strings.Contains(path, "["+o.options.KeyPrefix)
}

// builder carries out the steps of rendering.
type builder struct {
	origins *Origins
	objects []*object
	step    int
}

// addTemplate instantiates a template. A second instance, with a marker as the value of each
// parameter, shows which fields have one.
func (b *builder) addTemplate(templates *composition.Templates, ref composition.TemplateRef, namespace string) error {
	instance, err := templates.Instantiate(ref, namespace)
	if err != nil {
		return err
	}
	marked := ref
	marked.Parameters = map[string]string{}
	for name := range ref.Parameters {
		marked.Parameters[name] = marker(name)
	}
	markers, err := templates.Instantiate(marked, namespace)
	if err != nil {
		return err
	}
	source := Source{Layer: "template " + ref.Folder, Index: b.step}
	for i, each := range instance {
		added := &object{ref: each.Ref(), content: each.Object.Object, node: newNode(each.Object.Object, source)}
		added.node.markParameters(markers[i].Object.Object, ref.Parameters)
		b.objects = append(b.objects, added)
		b.origins.objects[added.ref] = added
	}
	b.step++
	return nil
}

// marker returns a value that nothing else contains.
func marker(parameter string) string { return "\x00" + parameter + "\x00" }

// mergeLayer merges the overlays of a layer.
func (b *builder) mergeLayer(layer composition.Layer) error {
	overlays, err := layer.Overlays()
	if err != nil {
		return fmt.Errorf("%s: %w", layer.Source, err)
	}
	for _, overlay := range overlays {
		for _, target := range b.objects {
			if target.ref.GroupVersionKind != overlay.Kind || target.ref.Name != overlay.Name {
				continue
			}
			merged, err := merge.StrategicMerge(overlay.Kind, target.content, overlay.Content)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", layer.Source, overlay.Path, err)
			}
			target.change(merged, Source{Layer: layer.Source, Path: overlay.Path, Index: b.step})
		}
		b.step++
	}
	return nil
}

// applyPatch applies one patch.
func (b *builder) applyPatch(each composition.Patch) error {
	before := make([]*unstructured.Unstructured, len(b.objects))
	for i, target := range b.objects {
		before[i] = &unstructured.Unstructured{Object: target.content}
	}
	after, _, err := patch.Apply(before, []composition.Patch{each}, b.origins.options.IsReserved)
	if err != nil {
		return err
	}
	for i, target := range b.objects {
		if after[i] != before[i] {
			target.change(after[i].Object, Source{Layer: each.Source, Path: each.Path, Index: b.step})
		}
	}
	b.step++
	return nil
}

// change sets the content, and the source of each field that differs.
func (o *object) change(content map[string]any, source Source) {
	u := updater{object: o, source: source}
	o.node = u.value(nil, merge.SchemaOf(o.ref.GroupVersionKind), o.node, o.content, content)
	o.content = content
}

// updater compares the content before and after a step.
type updater struct {
	object *object
	source Source
}

func (u updater) value(path fields.Path, schema merge.Schema, node *Node, before, after any) *Node {
	switch after := after.(type) {
	case map[string]any:
		if before, is := before.(map[string]any); is {
			return u.fields(path, schema, node, before, after)
		}
	case []any:
		if before, is := before.([]any); is {
			return u.items(path, schema, node, before, after)
		}
	default:
		if fields.Equal(before, after) {
			return node
		}
		changed := newNode(after, u.source)
		changed.Overridden = append(slices.Clone(node.Overridden), Setting{node.Source, before})
		return changed
	}
	return newNode(after, u.source)
}

func (u updater) fields(path fields.Path, schema merge.Schema, node *Node, before, after map[string]any) *Node {
	result := &Node{Source: node.Source, Fields: make(map[string]*Node, len(after))}
	for key, value := range after {
		if previous, existed := before[key]; existed {
			result.Fields[key] = u.value(path.Child(fields.Field(key)), schema.Field(key), node.Fields[key], previous, value)
		} else {
			result.Fields[key] = newNode(value, u.source)
		}
	}
	for key := range before {
		if _, exists := after[key]; !exists {
			u.remove(path.Child(fields.Field(key)))
		}
	}
	return result
}

func (u updater) items(path fields.Path, schema merge.Schema, node *Node, before, after []any) *Node {
	keys := fields.Keys(schema, before, after)
	result := &Node{Source: node.Source, Items: make([]*Node, len(after))}
	for _, pair := range fields.Match(keys, before, after) {
		switch {
		case pair.New < 0:
			u.remove(path.Child(fields.ItemOf(before[pair.Old], pair.Old, keys)))
		case pair.Old < 0:
			result.Items[pair.New] = newNode(after[pair.New], u.source)
		default:
			item := path.Child(fields.ItemOf(after[pair.New], pair.New, keys))
			result.Items[pair.New] = u.value(item, schema.Items(), node.Items[pair.Old], before[pair.Old], after[pair.New])
		}
	}
	return result
}

func (u updater) remove(path fields.Path) {
	u.object.removed = append([]Removal{{path.String(), u.source}}, u.object.removed...)
}

// newNode returns the sources of a value all of which is from one source.
func newNode(value any, source Source) *Node {
	node := &Node{Source: source}
	switch value := value.(type) {
	case map[string]any:
		node.Fields = make(map[string]*Node, len(value))
		for key, below := range value {
			node.Fields[key] = newNode(below, source)
		}
	case []any:
		node.Items = make([]*Node, len(value))
		for i, item := range value {
			node.Items[i] = newNode(item, source)
		}
	}
	return node
}

// markParameters sets the path of values that contain a marker.
func (n *Node) markParameters(value any, parameters map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			n.Fields[key].markParameters(below, parameters)
		}
	case []any:
		for i, item := range value {
			n.Items[i].markParameters(item, parameters)
		}
	case string:
		_, rest, found := strings.Cut(value, "\x00")
		if name, _, closed := strings.Cut(rest, "\x00"); found && closed {
			if _, declared := parameters[name]; declared {
				n.Source.Path = "parameter " + name
			}
		}
	}
}

// refine replaces the sources of a value and its parts.
func (n *Node) refine(of *object, path fields.Path, schema merge.Schema, value any, refine Refinement) {
	n.Source = refine(of.ref, path, n.Source)
	for i := range n.Overridden {
		n.Overridden[i].Source = refine(of.ref, path, n.Overridden[i].Source)
	}
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			n.Fields[key].refine(of, path.Child(fields.Field(key)), schema.Field(key), below, refine)
		}
	case []any:
		keys := fields.Keys(schema, value)
		for i, item := range value {
			n.Items[i].refine(of, path.Child(fields.ItemOf(item, i, keys)), schema.Items(), item, refine)
		}
	}
}

// IsTemplate reports whether a source is a template.
func (s Source) IsTemplate() bool { return strings.HasPrefix(s.Layer, "template ") }
