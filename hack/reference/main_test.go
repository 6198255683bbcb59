package main

import (
	"bytes"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// The page has the rules of the object, of its parts, of its fields, and of the items of a
// list or map, which may be fields without their own row.
func TestRules(t *testing.T) {
	const definition = `
spec:
  names: {kind: Widget, plural: widgets}
  versions:
  - schema:
      openAPIV3Schema:
        x-kubernetes-validations: [{rule: "true", message: of all}]
        properties:
          spec:
            x-kubernetes-validations: [{rule: "true", message: of a part}]
            properties:
              a:
                description: A.
                x-kubernetes-validations: [{rule: "true", messageExpression: "'of ' + self"}, {rule: size(self) == 1}]
              b:
                description: B.
                items: {x-kubernetes-validations: [{rule: "true", message: of an item}]}
              c:
                description: C.
                additionalProperties: {x-kubernetes-validations: [{rule: "true", message: of a value}]}
`
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(definition), crd); err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := writeKind(&page, crd, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`kubectl get widgets`. Rule: of all.\n",
		"\nRule: of a part.\n",
		" A. Rule: `'of ' + self`. Rule: `size(self) == 1`. |",
		" B. Of each: Rule: of an item. |",
		" C. Of each: Rule: of a value. |",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not contain %q, but\n%s", want, page.String())
		}
	}
}
