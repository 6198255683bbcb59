package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/cli/internal/foldersync"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// startFakeScheduler starts a fake scheduler on a socket.
func startFakeScheduler(t *testing.T) *fakescheduler.Scheduler {
	t.Helper()
	scheduler, err := fakescheduler.Start(t.Context(), fakescheduler.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(scheduler.Kill)
	return scheduler
}

func writeModels(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "models.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const modelFile = `apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris}
spec: {storageUri: gs://iris, requirements: [sklearn]}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: mlserver}
spec: {serverConfig: mlserver}
`

func TestSync(t *testing.T) {
	isolate(t)
	scheduler := startFakeScheduler(t)
	folder := filepath.Dir(writeModels(t, modelFile))
	got := runLocal(t, "", "sync", "-f", folder, "--scheduler", scheduler.Address(), "-n", "team")
	if got.code != exitDone || got.err != "2 of 2 objects are ready on "+scheduler.Address()+".\n" || !strings.Contains(got.out, "Model/iris                   True    Ready\n") {
		t.Errorf("got %+v", got)
	}
	got = runLocal(t, "", "sync", "-f", folder, "--scheduler", scheduler.Address(), "-n", "team", "-o", "json")
	for line := range strings.Lines(got.out) {
		if err := json.Unmarshal([]byte(line), &foldersync.Event{}); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if !strings.Contains(got.out, `"kind":"Model","name":"iris","generation":1,"ready":"True","reason":"Ready","replicas":1}`) {
		t.Errorf("got %s", got.out)
	}
	scheduler.FailModel("iris", 1000)
	got = runLocal(t, strings.ReplaceAll(modelFile, "gs://iris", "gs://other"), "sync", "-f", "-", "--scheduler", scheduler.Address(), "-n", "team")
	if got.code != exitFailed || got.err != "1 of 2 objects are ready on "+scheduler.Address()+"; failed: Model iris.\n" {
		t.Errorf("got %+v", got)
	}
	scheduler.Kill()
	got = runLocal(t, "", "sync", "-f", folder, "--scheduler", scheduler.Address(), "--timeout", "300ms")
	if got.code != exitTimeout || !strings.Contains(got.err, "not ready: Model iris, Server mlserver") {
		t.Errorf("got %+v", got)
	}
	for want, args := range map[string][]string{
		"no files are given; use --filename":                              {"--scheduler", "a"},
		"no scheduler is given; use --scheduler=HOST:PORT":                {"-f", folder},
		"--output=x: must be text or json":                                {"-f", folder, "--scheduler", "a", "-o", "x"},
		"--scheduler=http://a: must be host:port":                         {"-f", folder, "--scheduler", "http://a"},
		"absent: no such file or directory":                               {"-f", "absent", "--scheduler", "a"},
		"standard input:4: Model default/iris: spec: Required value":      nil,
		"CONTROL_PLANE_SECURITY_PROTOCOL is \"TLS\": set it to SSL or PL": nil,
	} {
		input := ""
		switch {
		case strings.HasPrefix(want, "standard"):
			args, input = []string{"-f", "-", "--scheduler", "a"}, "apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata: {name: iris}\n"
			want = strings.Replace(want, ":4", "", 1)
			want = strings.Replace(want, "spec: Required value", "Required value: spec is missing", 1)
		case args == nil:
			args = []string{"-f", folder, "--scheduler", "a"}
			t.Setenv("CONTROL_PLANE_SECURITY_PROTOCOL", "TLS")
		}
		if got := runLocal(t, input, append([]string{"sync", "--timeout", "1s"}, args...)...); got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%v: got %+v, want %s", args, got, want)
		}
		t.Setenv("CONTROL_PLANE_SECURITY_PROTOCOL", "")
	}
}
