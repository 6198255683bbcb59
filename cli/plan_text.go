package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/cli/internal/preview"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// Limits of the text form without --detailed.
const (
	// maxChanges is the number of changed fields of a step.
	maxChanges = 5
	// maxOwners is the number of owners that are printed one by one.
	maxOwners = 5
	// maxValue is the width of a value, and contextBefore the part of it before the first
	// difference of two texts.
	maxValue      = 60
	contextBefore = 20
)

// marks of the verbs, the first in colour terminals and others alike: +, ~ and so on are
// ASCII.
var marks = map[preview.Verb]struct {
	mark  string
	style style
}{
	preview.Create: {"+", green}, preview.Patch: {"~", yellow}, preview.Recreate: {"~", yellow}, preview.Delete: {"-", red},
	preview.Retain: {"=", gray}, preview.Block: {"!", red}, preview.None: {"=", gray}, preview.Unknown: {"?", yellow},
}

// planPrinter prints a report as text.
type planPrinter struct {
	terminal
	out      io.Writer
	detailed bool
}

// printText prints a report as text: the owners one by one or, if there are many, a table of
// them by impact.
func (f *factory) printText(report *preview.Report, detailed bool) error {
	t, err := newTerminal(f.Streams.Out, f.color, os.Getenv)
	if err != nil {
		return err
	}
	p := &planPrinter{t, f.Streams.Out, detailed}
	for _, config := range report.Configs {
		from := config.From
		if from == "" {
			from = "new"
		}
		p.line("%s %s/%s  %s %s %s", config.Kind, config.Namespace, config.Name, from, p.arrow(), config.To)
	}
	if len(report.Configs) > 0 {
		p.line("")
	}
	if !detailed && len(report.Runtimes)+len(report.Servers) > maxOwners {
		p.fleet(report)
		return nil
	}
	for i, owner := range report.Runtimes {
		if i > 0 {
			p.line("")
		}
		p.owner("SeldonRuntime", "SeldonConfig", owner, "")
		for _, server := range owner.Servers {
			p.owner("Server", "ServerConfig", server, "  ")
		}
	}
	for _, owner := range report.Servers {
		p.owner("Server", "ServerConfig", owner, "")
	}
	return nil
}

// line prints a line, cut to the width of a terminal.
func (p *planPrinter) line(format string, args ...any) {
	_, _ = fmt.Fprintln(p.out, strings.TrimRight(p.cut(fmt.Sprintf(format, args...)), " "))
}

func (p *planPrinter) arrow() string {
	if p.ascii {
		return "->"
	}
	return "→"
}

func (p *planPrinter) ellipsis() string {
	if p.ascii {
		return "..."
	}
	return "…"
}

// owner prints the plan of one owner.
func (p *planPrinter) owner(kind, configKind string, owner preview.Owner, indent string) {
	title := fmt.Sprintf("%s %s/%s", kind, owner.Namespace, owner.Name)
	p.line("%s%s  %s, %s %s", indent, p.paint(bold, title), owner.Impact, configKind, owner.Config)
	if owner.Error != "" {
		p.line("%s  %s cannot be planned: %s", indent, p.paint(red, "?"), owner.Error)
	}
	width := 0
	for _, step := range owner.Steps {
		if step.Verb != preview.None {
			width = max(width, len(step.Kind+"/"+step.Name))
		}
	}
	unchanged := 0
	for _, step := range owner.Steps {
		if step.Verb == preview.None {
			unchanged++
			continue
		}
		mark := marks[step.Verb]
		p.line("%s  %s %-*s  %-8s  %-10s  %s", indent, p.paint(mark.style, mark.mark), width, step.Kind+"/"+step.Name, step.Verb, step.Impact, step.Reason+p.qualifier(step))
		p.details(step, indent+"      ")
	}
	if unchanged > 0 {
		p.line("%s  %s %d unchanged", indent, p.paint(gray, "="), unchanged)
	}
}

// qualifier returns how a step was determined, if it was not by its own dry-run, and whether
// pods are replaced although the impact does not imply that.
func (p *planPrinter) qualifier(step preview.Step) plan.Reason {
	switch {
	case step.Verb == preview.Recreate && step.Restarts:
		return " (replaces pods)"
	case step.Unverified:
		return " (unverified)"
	case step.Evidence == plan.Inferred:
		return " (inferred)"
	}
	return ""
}

// details prints the changes, the warnings and the message of a step.
func (p *planPrinter) details(step preview.Step, indent string) {
	shown := step.Changes
	if !p.detailed && len(shown) > maxChanges {
		shown = shown[:maxChanges]
	}
	for _, change := range shown {
		p.change(change, indent)
	}
	if more := len(step.Changes) - len(shown); more > 0 {
		p.line("%s%s %s; use --detailed", indent, p.ellipsis(), count(more, "more field", "more fields"))
	}
	for _, warning := range step.Warnings {
		p.line("%s%s %s: %s", indent, p.paint(red, "!"), warning.Reason, warning.Message)
	}
	if step.Message != "" && len(step.Changes) == 0 && len(step.Warnings) == 0 {
		p.line("%s%s", indent, step.Message)
	}
}

// change prints one changed field, and the layer that causes it.
func (p *planPrinter) change(change preview.Change, indent string) {
	width := maxValue
	if p.detailed {
		width = 0
	}
	source := ""
	if change.Source != nil {
		source = "  " + p.paint(gray, "from "+change.Source.String())
	}
	if change.Manager != "" {
		source += "  " + p.paint(yellow, "owned by "+change.Manager)
	}
	before, after := p.values(change, width)
	switch {
	case change.Old == nil:
		p.line("%s%s: %s%s", indent, change.Path, p.paint(green, "+ "+after), source)
	case change.New == nil:
		p.line("%s%s: %s%s", indent, change.Path, p.paint(red, "- "+before), source)
	default:
		p.line("%s%s: %s %s %s%s", indent, change.Path, before, p.arrow(), after, source)
	}
}

// values returns the values of a change. Of long texts they are the parts around the first
// difference.
func (p *planPrinter) values(change preview.Change, width int) (before, after string) {
	from, isText := change.Old.(string)
	to, areTexts := change.New.(string)
	if width == 0 || !isText || !areTexts || max(len(from), len(to)) <= width {
		return fields.Format(change.Old, width), fields.Format(change.New, width)
	}
	equal := 0
	for equal < min(len(from), len(to)) && from[equal] == to[equal] {
		equal++
	}
	start := max(0, equal-contextBefore)
	for start > 0 && !utf8.RuneStart(from[start]) {
		start--
	}
	part := func(text string) string {
		if start == 0 {
			return fields.Format(text, width)
		}
		shown := []rune(strings.ReplaceAll(text[start:], "\n", `\n`))
		if len(shown) > width {
			return p.ellipsis() + string(shown[:width]) + p.ellipsis()
		}
		return p.ellipsis() + string(shown)
	}
	return part(from), part(to)
}

// fleet prints the owners by impact, the highest first.
func (p *planPrinter) fleet(report *preview.Report) {
	p.line("%s", p.paint(bold, fmt.Sprintf("%-12s%9s%9s%10s  %s", "IMPACT", "RUNTIMES", "SERVERS", "CHILDREN", "WHY")))
	for _, impact := range slices.Backward(plan.Impacts()) {
		row := fleetRow{}
		for _, owner := range report.Runtimes {
			row.add(owner, impact, true)
		}
		for _, owner := range report.Servers {
			row.add(owner, impact, false)
		}
		if row.runtimes+row.servers > 0 {
			why := strings.Join(row.why, ", ")
			if row.moreWhy > 0 {
				why += fmt.Sprintf(", %s %d more", p.ellipsis(), row.moreWhy)
			}
			p.line("%-12s%9d%9d%10d  %s", impact, row.runtimes, row.servers, row.children, why)
			if impact > plan.ImpactNoOp {
				p.line("%-12s%s", "", p.paint(gray, strings.Join(row.first, ", ")))
			}
		}
	}
	for _, owner := range append(append([]preview.Owner(nil), report.Runtimes...), report.Servers...) {
		if owner.Error != "" {
			p.line("%s %s/%s: %s", p.paint(red, "?"), owner.Namespace, owner.Name, owner.Error)
		}
	}
	p.line("Details: --detailed, or the name of one runtime.")
}

// fleetRow are the owners of one impact.
type fleetRow struct {
	runtimes, servers, children int
	// why are distinct changes of that impact, at most maxWhy.
	why     []string
	moreWhy int
	seen    sets.Set[string]
	// first are the first owners.
	first []string
}

const (
	maxWhy   = 3
	maxFirst = 10
)

// add adds an owner if it has the impact.
func (r *fleetRow) add(owner preview.Owner, impact plan.Impact, isRuntime bool) {
	if owner.Impact != impact {
		return
	}
	if isRuntime {
		r.runtimes++
	} else {
		r.servers++
	}
	if len(r.first) < maxFirst {
		r.first = append(r.first, owner.Namespace+"/"+owner.Name)
	} else if len(r.first) == maxFirst {
		r.first = append(r.first, "more")
	}
	if r.seen == nil {
		r.seen = sets.New[string]()
	}
	for _, each := range append([]preview.Owner{owner}, owner.Servers...) {
		for _, step := range each.Steps {
			if !step.Writes() {
				continue
			}
			r.children++
			if step.Impact != impact {
				continue
			}
			why := step.Kind + "/" + step.Name
			if len(step.Changes) > 0 {
				why += " " + step.Changes[0].Path
			} else {
				why = string(step.Verb) + " " + why
			}
			switch {
			case r.seen.Has(why):
			case len(r.why) < maxWhy:
				r.why = append(r.why, why)
			default:
				r.moreWhy++
			}
			r.seen.Insert(why)
		}
	}
}

// printMarkdown prints a report for a comment on a change request.
func (f *factory) printMarkdown(report *preview.Report, detailed bool) error {
	printer := &planPrinter{out: f.Streams.Out, detailed: detailed}
	printer.line("**%s**", sentence(report.Summary))
	printer.line("")
	printer.line("| owner | step | object | impact | changes |")
	printer.line("|---|---|---|---|---|")
	row := func(kind string, owner preview.Owner) {
		if owner.Error != "" {
			printer.line("| %s %s/%s | ? | | | %s |", kind, owner.Namespace, owner.Name, markdown(owner.Error))
		}
		for _, step := range owner.Steps {
			if step.Verb == preview.None {
				continue
			}
			var changes []string
			for i, change := range step.Changes {
				if i == maxChanges && !detailed {
					changes = append(changes, fmt.Sprintf("%d more", len(step.Changes)-i))
					break
				}
				before, after := printer.values(change, maxValue)
				changes = append(changes, fmt.Sprintf("`%s`: %s → %s", change.Path, markdown(before), markdown(after)))
			}
			if len(changes) == 0 {
				changes = append(changes, markdown(step.Message))
			}
			printer.line("| %s %s/%s | %s | %s/%s | %s | %s |", kind, owner.Namespace, owner.Name, step.Verb, step.Kind, step.Name, step.Impact, strings.Join(changes, "<br>"))
		}
	}
	for _, owner := range report.Runtimes {
		row("SeldonRuntime", owner)
		for _, server := range owner.Servers {
			row("Server", server)
		}
	}
	for _, owner := range report.Servers {
		row("Server", owner)
	}
	return nil
}

// markdown escapes text for a cell of a table.
func markdown(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "`", "'").Replace(text)
}
