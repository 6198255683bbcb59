package cli

import (
	"cmp"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/relay"
)

const objectsFile = `apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris, namespace: team, generation: 1}
spec: {storageUri: gs://iris, requirements: [sklearn]}
status:
  observedGeneration: 1
  availableReplicas: 1
  modelgwReady: ModelAvailable(1/1 ready)
  conditions:
  - {type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: null}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: large, namespace: team, generation: 1}
spec: {storageUri: gs://large, requirements: [absent], replicas: 2}
status:
  observedGeneration: 1
  modelgwReady: ModelAvailable(1/1 ready)
  conditions:
  - {type: Ready, status: "False", reason: ScheduleFailed, message: no server has 2 replicas, lastTransitionTime: null}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: mlserver, namespace: team, generation: 1}
spec: {serverConfig: mlserver}
status:
  observedGeneration: 1
  replicas: 1
  loadedModels: 1
  conditions:
  - {type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: null}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: pipe, namespace: team, generation: 1}
spec: {steps: [{name: iris}], output: {steps: [iris]}}
status:
  observedGeneration: 1
  conditions:
  - {type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: null}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: ab, namespace: team, generation: 1}
spec: {default: iris, candidates: [{name: iris, weight: 100}]}
status:
  observedGeneration: 1
  conditions:
  - {type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: null}
`

// The rows of custom resources and those of a scheduler are the same. That the commands read
// custom resources is tested in test/e2e/cli.
func TestObjects(t *testing.T) {
	isolate(t)
	scheduler := startFakeScheduler(t)
	file := writeModels(t, objectsFile)
	if got := runLocal(t, "", "sync", "-f", file, "-n", "team", "--scheduler", scheduler.Address()); got.code != exitFailed || !strings.Contains(got.err, "failed: Model large") {
		t.Fatalf("got %+v", got)
	}
	direct := func(args ...string) result {
		return runLocal(t, "", append(args, "-n", "team", "--scheduler", scheduler.Address())...)
	}
	// custom prints the rows of the custom resources that the arguments name.
	custom := func(kind relay.Kind, output, name string) (string, string) {
		out, errOut := &buffer{}, &buffer{}
		rows, err := readRows(t.Context(), readerOf(parseObjects(t, objectsFile)), kind, "team", name)
		if err != nil {
			t.Fatal(err)
		}
		o := &kindOptions{schedulerOptions: schedulerOptions{factory: newFactory(configOf("", out, errOut))}, kind: kind, output: output}
		if err := o.print(rows); err != nil {
			t.Fatal(err)
		}
		o.closing(rows)
		return out.String(), errOut.String()
	}
	for _, test := range []struct {
		args []string
		code int
		out  string
		err  string
		// kind, name and output of the custom resources that have the same rows; kind is empty
		// if none are compared.
		kind         relay.Kind
		name, output string
	}{
		{[]string{"model", "list"}, exitDone, "" +
			"NAME    READY   REASON           DESIRED   AVAILABLE   MODELGW                     MESSAGE\n" +
			"iris    True    Ready            1         1           ModelAvailable(1/1 ready)\n" +
			"large   False   ScheduleFailed   2         0           ModelAvailable(1/1 ready)   no server has 2 replicas\n",
			"1 of 2 Models are ready.\n", relay.Model, "", ""},
		{[]string{"server", "list"}, exitDone, "NAME       READY   REASON   REPLICAS   LOADED MODELS\nmlserver   True    Ready    1          1\n", "1 of 1 Server is ready.\n", relay.Server, "", ""},
		{[]string{"pipeline", "status", "pipe"}, exitDone, "NAME   READY   REASON   MESSAGE\npipe   True    Ready\n", "1 of 1 Pipeline is ready.\n", relay.Pipeline, "pipe", ""},
		{[]string{"experiment", "wait", "ab"}, exitDone, "NAME   READY   REASON   MESSAGE\nab     True    Ready\n", "1 of 1 Experiment is ready.\n", relay.Experiment, "ab", ""},
		{[]string{"model", "list", "-o", "name"}, exitDone, "model/iris\nmodel/large\n", "1 of 2 Models are ready.\n", relay.Model, "", "name"},
		{[]string{"model", "status", "absent"}, exitFailed, "", "error: Model not found: absent\n", "", "", ""},
		{[]string{"model", "wait", "iris", "--for", "available"}, exitDone, "NAME   READY   REASON   DESIRED   AVAILABLE   MODELGW                     MESSAGE\niris   True    Ready    1         1           ModelAvailable(1/1 ready)\n", "1 of 1 Model is ready.\n", relay.Model, "iris", ""},
		{[]string{"model", "wait", "large", "absent", "--timeout", "100ms", "-o", "name"}, exitTimeout, "model/large\n", "error: timeout after 100ms: not ready: absent, large\n", "", "", ""},
		{[]string{"model", "wait", "iris", "--for", "x"}, exitUsage, "", "error: --for=x: must be ready or available\n", "", "", ""},
		{[]string{"model", "status"}, exitUsage, "", "error: requires at least 1 arg(s), only received 0\n", "", "", ""},
		{[]string{"model", "list", "-o", "x"}, exitUsage, "", "error: --output=x: must be text, json or name\n", "", "", ""},
	} {
		if got := direct(test.args...); got.code != test.code || got.out != test.out || got.err != test.err {
			t.Errorf("%v: exit code %d, %q\n%s", test.args, got.code, got.err, got.out)
		}
		if test.kind == "" {
			continue
		}
		if out, errOut := custom(test.kind, cmp.Or(test.output, "text"), test.name); out != test.out || errOut != test.err {
			t.Errorf("%v: the custom resources are shown as %q\n%s", test.args, errOut, out)
		}
	}
	scheduler.Kill()
	if got := direct("model", "list"); got.code != exitFailed || !strings.Contains(got.err, "scheduler "+scheduler.Address()+": connection refused") {
		t.Errorf("got %+v", got)
	}
}

// load and unload send to a scheduler what differs, in the order of the kinds.
func TestLoad(t *testing.T) {
	isolate(t)
	scheduler := startFakeScheduler(t)
	if err := scheduler.OpenGate(); err != nil {
		t.Fatal(err)
	}
	file := writeModels(t, objectsFile)
	run := func(input string, args ...string) result {
		return runLocal(t, input, append(args, "-n", "team", "--scheduler", scheduler.Address())...)
	}
	if got := run("", "load", "-f", file); got.code != exitUsage || !strings.Contains(got.err, "Server team/mlserver: must be a Model, Pipeline or Experiment") || scheduler.Calls("LoadModel") > 0 {
		t.Errorf("got %+v", got)
	}
	sync := writeModels(t, "apiVersion: mlops.seldon.io/v1alpha1\nkind: Server\nmetadata: {name: mlserver}\nspec: {serverConfig: mlserver}\n")
	if got := run("", "sync", "-f", sync); got.code != exitDone {
		t.Fatalf("got %+v", got)
	}
	documents := strings.Split(objectsFile, "---\n")
	input := documents[3] + "---\n" + documents[0]
	got := run(input, "load", "-f", "-", "--wait")
	if got.code != exitDone || got.out != "model/iris loaded\npipeline/pipe loaded\n" || got.err != "2 objects were loaded, 0 unchanged.\n" {
		t.Errorf("got %+v", got)
	}
	if got = run(input, "load", "-f", "-"); got.code != exitDone || got.out != "model/iris unchanged\npipeline/pipe unchanged\n" {
		t.Errorf("got %+v", got)
	}
	got = run(strings.ReplaceAll(input, "gs://iris", "gs://other"), "load", "-f", "-")
	if models := scheduler.Models(); got.code != exitDone || models[0].Generation != 2 || models[0].Definition.GetModelSpec().GetUri() != "gs://other" {
		t.Errorf("got %+v, %v", got, models)
	}
	if got = runLocal(t, strings.ReplaceAll(documents[0], "namespace: team, ", ""), "load", "-f", "-", "-n", "other", "--scheduler", scheduler.Address()); got.code != exitFailed || !strings.Contains(got.err, "Model iris is loaded for namespace team: set -n team") {
		t.Errorf("got %+v", got)
	}
	if got = run(documents[1], "load", "-f", "-", "--wait", "--timeout", "300ms"); got.code != exitTimeout || got.err != "error: timeout after 300ms: not ready: Model large (ScheduleFailed)\n" {
		t.Errorf("got %+v", got)
	}
	if got = run("", "unload", "pipeline/pipe", "model/iris", "model/absent"); got.code != exitFailed || got.out != "pipeline/pipe unloaded\nmodel/iris unloaded\n" || got.err != "error: not found: Model absent\n" {
		t.Errorf("got %+v", got)
	}
	if models := scheduler.Models(); !models[0].Deleted || !scheduler.Pipelines()[0].Deleted {
		t.Errorf("the Models are %v", models)
	}
	for want, args := range map[string][]string{
		"name objects as TYPE/NAME, or use --filename":            nil,
		"iris: name objects as TYPE/NAME":                         {"iris"},
		"server/mlserver: must be a Model, Pipeline or Experimen": {"server/mlserver"},
	} {
		if got := run("", append([]string{"unload"}, args...)...); got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%v: got %+v", args, got)
		}
	}
}
