package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// placeholder is a time before now in a file of objects, such as ${2d}.
var placeholder = regexp.MustCompile(`\$\{(\d+[dhms])\}`)

// objectsOf returns the objects of a file of YAML documents.
func objectsOf(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseObjects(t, string(text))
}

// parseObjects returns the objects of YAML documents.
func parseObjects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	now := time.Now()
	text = placeholder.ReplaceAllStringFunc(text, func(match string) string {
		age := placeholder.FindStringSubmatch(match)[1]
		days := 1
		if number, isDays := strings.CutSuffix(age, "d"); isDays {
			age, days = number+"h", 24
		}
		before, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		return now.Add(-before*time.Duration(days) - 500*time.Millisecond).UTC().Format(time.RFC3339)
	})
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(text, "---\n") {
		content, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}

// readerOf returns a reader of objects.
func readerOf(objects []*unstructured.Unstructured) *manifest.Reader {
	return manifest.NewReader(newFactory(Config{}).scheme, objects, nil)
}

// result is what a command printed, and its exit code.
type result struct {
	out, err string
	code     int
}

// buffer is a buffer that is safe for concurrent use.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

// runLocal runs a command with an input, without a kubeconfig.
func runLocal(t *testing.T, input string, args ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "absent"))
	out, stderr := &buffer{}, &buffer{}
	code := Run(t.Context(), configOf(input, out, stderr), args)
	return result{out.String(), stderr.String(), code}
}

func configOf(input string, out, stderr *buffer) Config {
	return Config{Name: "kubectl seldon", Version: "0.1.0", Streams: genericiooptions.IOStreams{In: strings.NewReader(input), Out: out, ErrOut: stderr}}
}

// runWith runs a part of a command, which gets the arguments that are no flags. command returns
// the command of a factory, and that part.
func runWith(t *testing.T, command func(*factory) (*cobra.Command, func(context.Context, []string) error), args ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "absent"))
	out, stderr := &buffer{}, &buffer{}
	f := newFactory(configOf("", out, stderr))
	parsed, run := command(f)
	f.bind(parsed.Flags())
	if err := parsed.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), parsed.Flags().Args())
	if err != nil {
		printError(stderr, err)
	}
	return result{out.String(), stderr.String(), exitCode(err)}
}

// isolate sets the variables of the environment that change the output.
func isolate(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{"COLUMNS": "", "LC_ALL": "C.UTF-8", "NO_COLOR": "", "FORCE_COLOR": "", "CLICOLOR_FORCE": ""} {
		t.Setenv(name, value)
	}
}

// expectGolden compares text with a file of testdata.
func expectGolden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run the test with -update and review the change. Got:\n%s", file, text)
	}
}
