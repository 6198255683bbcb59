package binaries

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// testBuilder returns a builder for a small module of two binaries that share a package
// and need no network, and its output.
func testBuilder(t *testing.T) (*builder, *bytes.Buffer) {
	t.Helper()
	module := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module example.com/programs\n\ngo 1.26.0\n",
		"go.sum": "",
		// With unique content, so that it is not in the build cache.
		"hello/hello.go":   "package hello\n\n// " + module + "\n\nfunc Hello(who string) { println(\"hello\", who) }\n",
		"cmd/one/main.go":  "package main\n\nimport \"example.com/programs/hello\"\n\nfunc main() { hello.Hello(\"one\") }\n",
		"cmd/two/main.go":  "package main\n\nimport \"example.com/programs/hello\"\n\nfunc main() { hello.Hello(\"two\") }\n",
		"cmd/bad/main.go":  "package main\n\nfunc main() { undefined() }\n",
		"cmd/none/none.go": "package none\n",
	} {
		path := filepath.Join(module, filepath.FromSlash(name))
		NewWithT(t).Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		NewWithT(t).Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
	}
	t.Setenv("GOFLAGS", "-buildvcs=false")
	out := &bytes.Buffer{}
	return &builder{
		module:   module,
		into:     filepath.Join(t.TempDir(), "bin"),
		targets:  []target{{"one", "example.com/programs/cmd/one"}, {"two", "example.com/programs/cmd/two"}},
		progress: newProgress(out, false),
	}, out
}

func (b *builder) output(name string) (string, error) {
	output, err := exec.Command(filepath.Join(b.into, name)).CombinedOutput()
	return string(output), err
}

func TestBuildOnlyMissingOrOutOfDate(t *testing.T) {
	g := NewWithT(t)
	b, out := testBuilder(t)
	g.Expect(b.build(t.Context())).To(Succeed())
	g.Expect(b.output("one")).To(Equal("hello one\n"))
	g.Expect(b.output("two")).To(Equal("hello two\n"))
	g.Expect(out.String()).To(And(
		ContainSubstring("building 2 binaries into "+b.into),
		ContainSubstring("1 of 2, one: 0 of 3 packages compiled, 0:0"),
		ContainSubstring("2 of 2, two: 2 of 3 packages compiled, 0:0"),
		ContainSubstring("done in 0:0"),
	))

	for _, step := range []struct {
		name    string
		change  func() error
		printed []string
	}{
		{"nothing", func() error { return nil }, nil},
		{"a binary is missing", func() error { return os.Remove(filepath.Join(b.into, "two")) }, []string{"1 of 1, two:"}},
		{"another version is pinned", func() error {
			return os.WriteFile(filepath.Join(b.module, "go.sum"), []byte("\n"), 0o600)
		}, []string{"1 of 2, one:", "2 of 2, two:"}},
		{"a build was interrupted", func() error { return os.Remove(b.stamp(b.targets[0])) }, []string{"1 of 1, one:"}},
	} {
		out.Reset()
		b.progress = newProgress(out, false)
		g.Expect(step.change()).To(Succeed())
		g.Expect(b.build(t.Context())).To(Succeed(), step.name)
		g.Expect(bytes.Count(out.Bytes(), []byte("packages compiled"))).To(Equal(len(step.printed)), "%s: %s", step.name, out)
		for _, printed := range step.printed {
			g.Expect(out.String()).To(ContainSubstring(printed), step.name)
		}
		g.Expect(b.output("two")).To(Equal("hello two\n"), step.name)
	}
}

func TestBuildErrorsHaveCompilerOutput(t *testing.T) {
	g := NewWithT(t)
	b, out := testBuilder(t)
	b.targets = append(b.targets, target{"bad", "example.com/programs/cmd/bad"})
	g.Expect(b.build(t.Context())).To(MatchError(And(ContainSubstring("build bad"), ContainSubstring("undefined: undefined"))))
	g.Expect(out.String()).To(ContainSubstring("failed after"))
	g.Expect(filepath.Join(b.into, "one")).To(BeARegularFile(), "finished binaries are kept")
	g.Expect(filepath.Join(b.into, ".bad")).NotTo(BeAnExistingFile())

	b.targets = []target{{"missing", "example.com/programs/cmd/missing"}}
	b.progress = newProgress(out, false)
	g.Expect(b.build(t.Context())).To(MatchError(ContainSubstring("cmd/missing")))
}

func TestProgressOnTerminal(t *testing.T) {
	g := NewWithT(t)
	out := &bytes.Buffer{}
	p := newProgress(out, true)
	p.start(1, "bin")
	p.expect([]string{"a", "b"})
	p.begin(target{name: "one"})
	g.Expect(p.compiled("a")).To(BeTrue())
	g.Expect(p.compiled("a.go:1:1: oops")).To(BeFalse())
	p.report()
	p.finish(nil)
	g.Expect(out.String()).To(ContainSubstring("\r\x1b[Kcontrolplane: 1 of 1, one: 1 of 2 packages compiled, 0:00"))
	g.Expect(bytes.Count(out.Bytes(), []byte("\n"))).To(Equal(2), "the first and the last line are not rewritten")
}

func TestFingerprintHasVersion(t *testing.T) {
	g := NewWithT(t)
	root, err := repositoryRoot()
	g.Expect(err).NotTo(HaveOccurred())
	b := &builder{module: filepath.Join(root, "test", "framework", "binaries", "tools")}
	_, flags, err := b.fingerprint()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(flags).To(ContainElement(MatchRegexp(`version\.gitVersion=v1\.\d+\.\d+ .*gitMinor=\d+ `)))
}

func TestDirectory(t *testing.T) {
	g := NewWithT(t)
	root, err := filepath.Abs("../../..")
	g.Expect(err).NotTo(HaveOccurred())
	t.Setenv(AssetsVariable, "")
	g.Expect(Directory()).To(Equal(filepath.Join(root, "bin", "k8s")))
	g.Expect(Path(Kubectl)).To(Equal(filepath.Join(root, "bin", "k8s", "kubectl")))

	t.Chdir("tools")
	g.Expect(Directory()).To(Equal(filepath.Join(root, "bin", "k8s")), "nested modules are skipped")

	t.Setenv(AssetsVariable, "/elsewhere")
	g.Expect(Directory()).To(Equal("/elsewhere"))

	t.Setenv(AssetsVariable, "")
	t.Chdir(t.TempDir())
	_, err = Directory()
	g.Expect(err).To(MatchError(ContainSubstring(AssetsVariable)))
}
