package manifest

import (
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/printers"
)

// Formats are the output formats of [Print].
var Formats = []string{"yaml", "json", "name"}

// Print writes objects: as YAML documents, as one JSON list, or as names such as
// deployment.apps/seldon-envoy, a line each.
func Print(out io.Writer, objects []*unstructured.Unstructured, format string) error {
	switch format {
	case "yaml":
		printer := &printers.YAMLPrinter{}
		for _, object := range objects {
			if err := printer.PrintObj(object, out); err != nil {
				return err
			}
		}
		return nil
	case "json":
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("v1")
		list.SetKind("List")
		for _, object := range objects {
			list.Items = append(list.Items, *object)
		}
		return (&printers.JSONPrinter{}).PrintObj(list, out)
	case "name":
		for _, object := range objects {
			if err := (&printers.NamePrinter{ShortOutput: true}).PrintObj(object, out); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("--output=%s: must be yaml, json or name", format)
}
