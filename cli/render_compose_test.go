package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
