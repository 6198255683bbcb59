package cli

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// Arguments and flags are validated before a request. What the commands write is tested in
// test/e2e/cli.
func TestAnnotateErrors(t *testing.T) {
	isolate(t)
	for args, want := range map[string]string{
		"pause":                            "name an object as TYPE/NAME, or select objects with --selector or --all-namespaces",
		"pause model/iris -n team-a":       "model/iris has no child objects: use a SeldonRuntime or a Server",
		"pause deployment -A":              "deployment has no child objects: use a SeldonRuntime or a Server",
		"pause widget -A":                  "widget has no child objects: use a SeldonRuntime or a Server",
		"resume server/x -A":               "a name cannot be combined with --selector or --all-namespaces",
		"reconcile -l a=b=c":               "--selector=a=b=c: found '=', expected: ',' or 'end of string'",
		"pause seldon --timeout=0s":        "--timeout=0s: must be greater than 0",
		"restart seldon --timeout=0s":      "--timeout=0s: must be greater than 0",
		"reconcile seldon extra more args": "accepts at most 2 arg(s), received 4",
	} {
		code, stdout, stderr := offline(t, "", strings.Fields(args)...)
		NewWithT(t).Expect(result{stdout, stderr, code}).To(Equal(result{"", "error: " + want + "\n", exitUsage}), args)
	}
}
