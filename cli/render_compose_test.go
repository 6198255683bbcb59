package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

func TestRenderCompose(t *testing.T) {
	code, stdout, stderr := offline(t, "", "render", "-f", "testdata/render/input.yaml", "-o", "compose", "--without-kafka")
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	expectGolden(t, "render/compose.stdout", stdout)
	expectGolden(t, "render/compose.stderr", stderr)
}

// The files of --config-dir are written, those of Secrets into folders for their owner only.
func TestRenderComposeWithFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	input := `{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: seldon}, spec: {seldonConfig: default}}
---
{apiVersion: v1, kind: Secret, metadata: {name: confluent-schema}, stringData: {.confluent-schema.yaml: hidden}}`
	code, stdout, stderr := offline(t, input, "render", "-f", "-", "-o", "compose", "--config-dir", dir)
	if code != exitDone || strings.Contains(stdout+stderr, "hidden") || !strings.Contains(stdout, "name: seldon\n") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for name, want := range map[string]string{"secrets/confluent-schema/.confluent-schema.yaml": "hidden", "configmaps/seldon-tracing/OTEL_JAVAAGENT_ENABLED": "true"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	for name, want := range map[string]os.FileMode{"secrets/confluent-schema": 0o700, "configmaps": 0o755} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has permissions %v, %v", name, info.Mode(), err)
		}
	}
}

// The service sync of a Compose file loads the Models of its folder: its command runs against
// a scheduler, with the addresses of this machine.
func TestSyncServiceOfCompose(t *testing.T) {
	runtime := "{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: seldon}, spec: {seldonConfig: default}}"
	code, stdout, stderr := offline(t, runtime, "render", "-f", "-", "-o", "compose")
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	project := struct {
		Services map[string]struct {
			Command []string
			Volumes []struct{ Source, Target string }
		}
	}{}
	if err := yaml.Unmarshal([]byte(stdout), &project); err != nil {
		t.Fatal(err)
	}
	service, folder := project.Services["sync"], t.TempDir()
	if len(service.Volumes) != 1 || service.Volumes[0].Source != "./models" {
		t.Fatalf("volumes are %v", service.Volumes)
	}
	models, err := os.ReadFile("../config/samples/mlops_v1alpha1_model.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "models.yaml"), models, 0o600); err != nil {
		t.Fatal(err)
	}
	scheduler, err := fakescheduler.Start(t.Context(), fakescheduler.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(scheduler.Kill)
	args := strings.Split(strings.NewReplacer(service.Volumes[0].Target, folder, "seldon-scheduler:9004", scheduler.Address()).Replace(strings.Join(service.Command, "\n")), "\n")
	t.Setenv("KUBECONFIG", filepath.Join(folder, "none"))
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	out := &bytes.Buffer{}
	ended := make(chan int)
	go func() {
		ended <- Run(ctx, Config{Name: "kubectl seldon", Version: "1.2.3", Streams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: out}}, args)
	}()
	for ctx.Err() == nil && len(scheduler.Models()) < 3 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if code := <-ended; code != exitDone || len(scheduler.Models()) != 3 {
		t.Errorf("%q: exit code %d, models are %v: %s", args, code, scheduler.Models(), out)
	}
}

func TestComposeFlagsNeedCompose(t *testing.T) {
	code, _, stderr := offline(t, "", "render", "-f", "testdata/render/input.yaml", "--without-kafka")
	if code != exitUsage || !strings.Contains(stderr, "--without-kafka needs --output=compose") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestImageTag(t *testing.T) {
	for version, want := range map[string]string{"0.1.0": "0.1.0", "v1.2.3": "1.2.3", "(devel)": "latest", "v0.0.0-20260101000000-abcdef": "latest"} {
		if got := imageTag(version); got != want {
			t.Errorf("tag of %s is %q, want %q", version, got, want)
		}
	}
}
