package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	debugPage  = "../docs/how-to/debug-the-relay.md"
	sizingPage = "../docs/reference/sizing.md"
)

// goSources returns the Go files of folders, without tests.
func goSources(t *testing.T, folders ...string) string {
	t.Helper()
	var text strings.Builder
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				text.WriteString(read(t, file))
			}
		}
	}
	if text.Len() == 0 {
		t.Fatalf("no Go files in %v", folders)
	}
	return text.String()
}

var metricName = regexp.MustCompile(`seldon_operator_[a-z_]*[a-z]`)

// The operator has all metrics that the pages name.
func TestMetricsExist(t *testing.T) {
	source := goSources(t, "../relay", "../controllers", "../cmd/manager")
	found := 0
	for page, content := range pages(t) {
		for _, name := range metricName.FindAllString(content, -1) {
			found++
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if !strings.Contains(source, name) {
				t.Errorf("%s: the operator has no metric %s", page, name)
			}
		}
	}
	if found == 0 {
		t.Error("no page names a metric")
	}
}

// messageParts matches what separates the parts of a message that are in the source: the
// ellipsis for what varies, and what formats put together.
var messageParts = regexp.MustCompile(`…|: |; |, |[()]| before it sent anything|CONTROL_PLANE_SECURITY_PROTOCOL`)

// The relay and controllers have the messages in the tables of the page on debugging.
func TestMessagesExist(t *testing.T) {
	source := goSources(t, "../relay", "../controllers") + syscall.ECONNREFUSED.Error()
	found, isTable := 0, false
	for line := range strings.Lines(read(t, debugPage)) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) < 3:
			isTable = false
		case strings.TrimSpace(cells[1]) == "message":
			isTable = true
		case isTable && !strings.HasPrefix(line, "|---"):
			found++
			for _, part := range messageParts.Split(strings.Trim(cells[1], " `"), -1) {
				if !strings.Contains(source, strings.TrimSpace(part)) {
					t.Errorf("%s: no message contains %q, which is part of %s", debugPage, part, cells[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%s: only %d messages in tables", debugPage, found)
	}
}

// The calls of the page on debugging are methods of the scheduler that read its state.
func TestDebuggingCallsOnlyRead(t *testing.T) {
	calls := regexp.MustCompile(`seldon\.mlops\.scheduler\.Scheduler/(\w+)`).FindAllStringSubmatch(read(t, debugPage), -1)
	if len(calls) == 0 {
		t.Errorf("%s: no call", debugPage)
	}
	proto := read(t, "../api/scheduler/mlops/scheduler/scheduler.proto")
	for _, call := range calls {
		if !strings.Contains(proto, "rpc "+call[1]+"(") {
			t.Errorf("%s: the scheduler has no method %s", debugPage, call[1])
		}
		if !slices.Contains([]string{"ModelStatus", "PipelineStatus", "ExperimentStatus", "ServerStatus", "SchedulerStatus"}, call[1]) {
			t.Errorf("%s: %s may change the state of a scheduler", debugPage, call[1])
		}
	}
}

// The page on sizing has existing flags and benchmarks, and the resources of the
// manifests.
func TestSizingMatches(t *testing.T) {
	page := read(t, sizingPage)
	flags := read(t, "../cmd/manager/flags.go")
	names := regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(page, -1)
	if len(names) < 5 {
		t.Errorf("%s: only %d flags", sizingPage, len(names))
	}
	for _, name := range names {
		if !strings.Contains(flags, `"`+name[1]+`"`) {
			t.Errorf("%s: the operator has no flag --%s", sizingPage, name[1])
		}
	}
	benchmarks, err := filepath.Glob("../*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../test/benchmark/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range append(benchmarks, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for _, name := range regexp.MustCompile(`Benchmark\w+`).FindAllString(page, -1) {
		if !strings.Contains(source.String(), "func "+name+"(") {
			t.Errorf("%s: there is no %s", sizingPage, name)
		}
	}
	manifest := read(t, "../config/manager/manager.yaml")
	for _, value := range []struct{ name, pattern, row string }{
		{"memory request", `requests: \{cpu: \w+, memory: (\w+)\}`, "| memory request | %s |"},
		{"memory limit", `limits: \{memory: (\w+)\}`, "| memory limit | %s |"},
		{"CPU request", `requests: \{cpu: (\w+),`, "| CPU request | %s |"},
		{"GOMEMLIMIT", `name: GOMEMLIMIT\n\s+value: (\w+)`, "(%s)"},
	} {
		match := regexp.MustCompile(value.pattern).FindStringSubmatch(manifest)
		if match == nil {
			t.Errorf("the manifest has no %s", value.name)
			continue
		}
		if row := strings.ReplaceAll(value.row, "%s", match[1]); !strings.Contains(page, row) {
			t.Errorf("%s: has no %q, the %s of the manifest", sizingPage, row, value.name)
		}
	}
}
