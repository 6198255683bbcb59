package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"github.com/seldon-operator/seldon-operator/cli/internal/preview"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// reportOf reads a report.
func reportOf(t *testing.T, file string) *preview.Report {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	report := &preview.Report{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(report); err != nil {
		t.Fatal(err)
	}
	return report
}

// fleetOf returns a report with many runtimes like the first of another one.
func fleetOf(report *preview.Report) *preview.Report {
	fleet := *report
	fleet.Runtimes = nil
	for i := range 12 {
		owner := report.Runtimes[0]
		owner.Namespace = "team-" + string(rune('a'+i))
		if i >= 10 {
			owner.Impact, owner.Steps, owner.Servers = plan.ImpactNoOp, nil, nil
		}
		fleet.Runtimes = append(fleet.Runtimes, owner)
	}
	return &fleet
}

func TestPlanGolden(t *testing.T) {
	for name, c := range map[string]struct {
		output, columns, color string
		detailed, fleet, utf8  bool
	}{
		"width-80":   {columns: "80", utf8: true},
		"width-200":  {columns: "200", utf8: true},
		"ascii":      {columns: "80"},
		"non-tty":    {utf8: true},
		"color":      {columns: "80", utf8: true, color: colorAlways},
		"detailed":   {detailed: true, utf8: true},
		"fleet":      {fleet: true, utf8: true},
		"markdown":   {output: "markdown", utf8: true},
		"yaml":       {output: "yaml", utf8: true},
		"fleet-wide": {fleet: true, utf8: true, columns: "200"},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			t.Setenv("COLUMNS", c.columns)
			if !c.utf8 {
				t.Setenv("LC_ALL", "C")
			}
			report := reportOf(t, "testdata/plan/report.json")
			if c.fleet {
				report = fleetOf(report)
			}
			var out, errOut bytes.Buffer
			f := newFactory(Config{Streams: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}})
			f.color = colorAuto
			if c.color != "" {
				f.color = c.color
			}
			if err := f.printReport(report, c.output, c.detailed); err != nil {
				t.Fatal(err)
			}
			f.closing(report)
			expectGolden(t, "plan/"+name+".txt", out.String()+"--- stderr\n"+errOut.String())
		})
	}
}

// TestPlanSchema validates a report against the published schema.
func TestPlanSchema(t *testing.T) {
	text, err := os.ReadFile("../docs/reference/plan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := &spec.Schema{}
	if err := json.Unmarshal(text, schema); err != nil {
		t.Fatal(err)
	}
	valid := func(report any) error {
		content, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(content, &decoded); err != nil {
			t.Fatal(err)
		}
		return validate.NewSchemaValidator(schema, nil, "", strfmt.Default).Validate(decoded).AsError()
	}
	report := reportOf(t, "testdata/plan/report.json")
	if err := valid(report); err != nil {
		t.Error(err)
	}
	report.Runtimes[0].Steps[0].Verb = "rewrite"
	if err := valid(report); err == nil {
		t.Error("an unknown verb is valid")
	}
	if err := valid(map[string]any{"apiVersion": preview.APIVersion, "additional": true}); err == nil {
		t.Error("an unknown field is valid")
	}
}

func TestSentence(t *testing.T) {
	for expected, summary := range map[string]preview.Summary{
		"Nothing would change.":                        {},
		"Nothing would be written; 1 step is blocked.": {Blocked: 1},
		"1 object would be written.":                   {Writes: 1},
		"9 objects would be written; 1 workload replaces its pods; 2 objects are deleted.": {Writes: 9, Restarts: 1, Deletes: 2},
		"3 objects would be written; data is lost; 2 steps are inferred from equal ones.":  {Writes: 3, MaxImpact: plan.ImpactDataLoss, Inferred: 2},
		"Nothing would be written; 2 steps or owners are unknown.":                         {Unknown: 2},
	} {
		if got := sentence(summary); got != expected {
			t.Errorf("%q instead of %q", got, expected)
		}
	}
}

func TestRecreateThatReplacesPods(t *testing.T) {
	step := preview.Step{Verb: preview.Recreate, Restarts: true}
	if got := (&planPrinter{}).qualifier(step); got != " (replaces pods)" {
		t.Errorf("%q", got)
	}
}

func TestParseImpact(t *testing.T) {
	if impact, err := parseImpact("dataloss"); err != nil || *impact != plan.ImpactDataLoss {
		t.Errorf("%v, %v", impact, err)
	}
	if impact, err := parseImpact(""); err != nil || impact != nil {
		t.Errorf("%v, %v", impact, err)
	}
	if _, err := parseImpact("big"); exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
}
