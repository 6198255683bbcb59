package docs_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// healthScript returns the health check for Argo CD on the page about GitOps.
func healthScript(t *testing.T) string {
	t.Helper()
	_, script, found := strings.Cut(read(t, "how-to/gitops.md"), "health.lua: |\n")
	script, _, ended := strings.Cut(script, "```")
	if !found || !ended {
		t.Fatal("gitops.md: health.lua is missing")
	}
	return script
}

// Argo CD derives the health of each object from its conditions.
func TestHealthInArgoCD(t *testing.T) {
	script, scheme := healthScript(t), newScheme(t)
	const model, ready = "kind: Model\nmetadata: {generation: 2}\nstatus: {observedGeneration: 2, conditions: [%s]}", "{type: Ready, status: %q, reason: %s, message: m}"
	for name, c := range map[string]struct{ object, want string }{
		"a SeldonConfig":        {"kind: SeldonConfig", "Healthy nil"},
		"a ServerConfig":        {"kind: ServerConfig", "Healthy nil"},
		"without status":        {"kind: Server", "Progressing the operator has not seen it yet"},
		"without conditions":    {fmt.Sprintf(model, ""), "Progressing the operator has not seen it yet"},
		"with an old status":    {"kind: Pipeline\nmetadata: {generation: 2}\nstatus: {observedGeneration: 1, conditions: [{type: Ready, status: \"True\"}]}", "Progressing the operator has not seen it yet"},
		"ready":                 {fmt.Sprintf(model, fmt.Sprintf(ready, "True", "ModelAvailable")), "Healthy ModelAvailable: m"},
		"without a scheduler":   {fmt.Sprintf(model, fmt.Sprintf(ready, "Unknown", "SchedulerUnreachable")), "Progressing SchedulerUnreachable: m"},
		"progressing":           {fmt.Sprintf(model, fmt.Sprintf(ready, "False", "ModelProgressing")), "Progressing ModelProgressing: m"},
		"failed":                {fmt.Sprintf(model, fmt.Sprintf(ready, "False", "ModelFailed")), "Degraded ModelFailed: m"},
		"with 0 replicas":       {fmt.Sprintf(model, fmt.Sprintf(ready, "False", "ModelScaledDown")), "Suspended ModelScaledDown: m"},
		"failed, after another": {fmt.Sprintf(model, "{type: Other, status: \"True\"}, "+fmt.Sprintf(ready, "False", "ModelFailed")), "Degraded ModelFailed: m"},
		"paused":                {fmt.Sprintf(model, fmt.Sprintf(ready, "False", "ImmutableFieldChanged")+", {type: Paused, status: \"True\", message: p}"), "Suspended p"},
	} {
		t.Run(name, func(t *testing.T) {
			object := documents(t, "how-to/gitops.md", block{text: "apiVersion: mlops.seldon.io/v1alpha1\n" + c.object})[0]
			typed(t, scheme, "gitops.md", object) // checks that the fields exist
			file := filepath.Join(t.TempDir(), "health.lua")
			text := "local obj = " + lua(object) + "\nlocal health = (function()\n" + script + "\nend)()\nprint(health.status, health.message)\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			output, err := exec.Command("../bin/glua", file).CombinedOutput()
			if got := strings.Join(strings.Fields(string(output)), " "); err != nil || got != c.want {
				t.Errorf("got %s, %v; want %s (`make test` builds bin/glua)", got, err, c.want)
			}
		})
	}
}

// The reasons in the script exist.
func TestHealthInArgoCDReasons(t *testing.T) {
	_, passing, _ := strings.Cut(healthScript(t), "local passing = {")
	passing, _, _ = strings.Cut(passing, "}")
	names := regexp.MustCompile(`(\w+) = true`).FindAllStringSubmatch(passing, -1)
	if len(names) < 10 {
		t.Errorf("gitops.md: health.lua has only %d reasons", len(names))
	}
	page := read(t, "reference/conditions-and-events.md")
	for _, name := range names {
		_, ofModel := pb.ModelStatus_ModelState_value[name[1]]
		_, ofPipeline := pb.PipelineVersionState_PipelineStatus_value[name[1]]
		if !ofModel && !ofPipeline && !strings.Contains(page, "`"+name[1]+"`") {
			t.Errorf("gitops.md: health.lua has the reason %s, which does not exist", name[1])
		}
	}
}

// lua returns a decoded document as a Lua literal.
func lua(value any) string {
	var fields []string
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			fields = append(fields, fmt.Sprintf("[%q] = %s", key, lua(value[key])))
		}
	case []any:
		for _, item := range value {
			fields = append(fields, lua(item))
		}
	case string:
		return strconv.Quote(value)
	default:
		return fmt.Sprint(value)
	}
	return "{" + strings.Join(fields, ", ") + "}"
}
