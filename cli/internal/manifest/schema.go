package manifest

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/config"
)

// definition is the schema of one of the operator's CustomResourceDefinitions.
type definition struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	// rules are those in CEL, compiled when they are first needed.
	rules func() *cel.Validator
}

// definitions are by kind. Each is parsed when it is first needed: that of a SeldonRuntime
// takes some 100 ms.
var definitions = sync.OnceValue(func() map[string]func() *definition {
	byKind := map[string]func() *definition{}
	for kind, text := range config.CustomResourceDefinitions() {
		byKind[kind] = sync.OnceValue(func() *definition {
			parsed, err := parseDefinition(text)
			if err != nil {
				panic(fmt.Sprintf("CustomResourceDefinition of %s: %v", kind, err)) // a test parses all
			}
			return parsed
		})
	}
	return byKind
})

func parseDefinition(text []byte) (*definition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		return nil, err
	}
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, props, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(props)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, err
	}
	return &definition{structural, validator, sync.OnceValue(func() *cel.Validator {
		return cel.NewValidator(structural, true, celconfig.PerCallLimit)
	})}, nil
}

// definitionOf returns the definition of a kind; nil if it is not one of the operator's.
func definitionOf(kind string) *definition {
	if parse := definitions()[kind]; parse != nil {
		return parse()
	}
	return nil
}

// SetDefaults sets the defaults of the CustomResourceDefinition of an object of one of the
// operator's kinds, as the API server does when it stores the object. Those of the status are
// not set: files have none.
func SetDefaults(object *unstructured.Unstructured) {
	known := definitionOf(object.GetKind())
	spec, has := object.Object["spec"]
	if known == nil || !has {
		return
	}
	properties := known.structural.Properties["spec"]
	defaulting.PruneNonNullableNullsWithoutDefaults(spec, &properties)
	defaulting.Default(spec, &properties)
}

// validate checks an object of one of the operator's kinds, which has its defaults, as the
// API server does when the object is created: its metadata, the schema and the rules in CEL.
func validate(object *unstructured.Unstructured) []fieldError {
	known := definitionOf(object.GetKind())
	if known == nil {
		return nil
	}
	content := object.Object
	errs := metavalidation.ValidateObjectMetaAccessor(object, object.GetNamespace() != "", metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, content, known.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, known.structural, content)...)
	unknown := pruning.PruneWithOptions(object.DeepCopy().Object, known.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if rules := known.rules; len(errs) == 0 {
		// The rules assume that the schema holds.
		if validator := rules(); validator != nil {
			failed, _ := validator.Validate(context.Background(), nil, known.structural, content, nil, celconfig.RuntimeCELCostBudget)
			errs = append(errs, failed...)
		}
	}
	var result []fieldError
	for _, err := range errs {
		each := fieldError{strings.TrimPrefix(err.Field, "<nil>"), fieldMessage(err)}
		if !slices.Contains(result, each) {
			result = append(result, each)
		}
	}
	for _, path := range unknown {
		result = append(result, fieldError{path, messageUnknown})
	}
	// The schema's errors are in the order of Go maps.
	slices.SortStableFunc(result, func(a, b fieldError) int { return cmp.Compare(a.path, b.path) })
	return result
}

var wrongType = regexp.MustCompile(`must be of type (\w+): "(\w+)"$`)

// fieldMessage returns the message of an error without the path, in which the API server
// repeats it.
func fieldMessage(err *field.Error) string {
	if match := wrongType.FindStringSubmatch(err.Detail); match != nil {
		return fmt.Sprintf("is %s, must be %s", jsonType(match[2]), jsonType(match[1]))
	}
	return strings.ReplaceAll(err.ErrorBody(), err.Field+" in body ", "")
}

// jsonType describes a type of a schema.
func jsonType(name string) string {
	switch name {
	case "array":
		return "a list"
	case "boolean":
		return "true or false"
	case "integer", "object":
		return "an " + name
	default:
		return "a " + name
	}
}
