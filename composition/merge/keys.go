package merge

import "k8s.io/apimachinery/pkg/runtime/schema"

// Schema is the type of a value in an object of a kind. Values of kinds that are not built in
// have no known type.
type Schema struct{ field *fieldType }

// SchemaOf returns the schema of an object of a kind.
func SchemaOf(kind schema.GroupVersionKind) Schema {
	return Schema{&fieldType{schemaType: typeOf(kind)}}
}

// Field returns the schema of a field, or of a value of a map.
func (s Schema) Field(name string) Schema {
	if s.field.shape != shapeList {
		if field := s.field.field(name); field != nil {
			return Schema{field}
		}
	}
	return Schema{anyField}
}

// Items returns the schema of the items of a list.
func (s Schema) Items() Schema {
	if s.field.shape == shapeList {
		return Schema{s.field.elem}
	}
	return Schema{anyField}
}

// Known reports whether the type is known.
func (s Schema) Known() bool { return s.field.shape != shapeUnknown }

// Keys lists the sets of fields that identify an item of a list, the one that takes
// precedence first: ports are matched by name before they are by number and protocol. It is
// empty for lists that do not merge by keys.
func (s Schema) Keys() [][]string {
	var sets [][]string
	if s.field.matchPortName {
		sets = append(sets, []string{"name"})
	}
	var names []string
	for _, key := range s.field.keys {
		names = append(names, key.name)
	}
	if len(names) > 0 {
		sets = append(sets, names)
	}
	return sets
}
