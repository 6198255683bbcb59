package binaries

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	b := &builder{progress: newProgress(out, false)}
	into := filepath.Join(t.TempDir(), "bin")
	for _, name := range []string{"one", "two"} {
		b.targets = append(b.targets, target{
			name: name, packages: []string{"example.com/programs/cmd/" + name}, module: module, output: filepath.Join(into, name), fingerprint: "1",
		})
	}
	return b, out
}

// run returns what the binary of a target prints.
func (t target) run() (string, error) {
	output, err := exec.Command(t.output).CombinedOutput()
	return string(output), err
}

func TestBuildOnlyMissingOrOutOfDate(t *testing.T) {
	g := NewWithT(t)
	b, out := testBuilder(t)
	g.Expect(b.build(t.Context())).To(Succeed())
	g.Expect(b.targets[0].run()).To(Equal("hello one\n"))
	g.Expect(b.targets[1].run()).To(Equal("hello two\n"))
	g.Expect(out.String()).To(And(
		ContainSubstring("1 of 2, one: 0 of 1 packages compiled, 0:0"),
		ContainSubstring("2 of 2, two: 1 of 1 packages compiled, 0:0"),
		MatchRegexp(`done in 0:0\d \(`),
	))

	for _, step := range []struct {
		name    string
		change  func() error
		printed []string
	}{
		{"nothing", func() error { return nil }, nil},
		{"a binary is missing", func() error { return os.Remove(b.targets[1].output) }, []string{"1 of 1, two:"}},
		{"another version is pinned", func() error {
			b.targets[0].fingerprint, b.targets[1].fingerprint = "2", "2"
			return nil
		}, []string{"1 of 2, one:", "2 of 2, two:"}},
		{"a build was interrupted", func() error { return os.Remove(b.targets[0].stamp()) }, []string{"1 of 1, one:"}},
	} {
		out.Reset()
		b.progress = newProgress(out, false)
		g.Expect(step.change()).To(Succeed())
		g.Expect(b.build(t.Context())).To(Succeed(), step.name)
		g.Expect(bytes.Count(out.Bytes(), []byte("packages compiled"))).To(Equal(len(step.printed)), "%s: %s", step.name, out)
		for _, printed := range step.printed {
			g.Expect(out.String()).To(ContainSubstring(printed), step.name)
		}
		g.Expect(b.targets[1].run()).To(Equal("hello two\n"), step.name)
	}
}

func TestBuildErrorsHaveCompilerOutput(t *testing.T) {
	g := NewWithT(t)
	b, out := testBuilder(t)
	bad := b.targets[0]
	bad.name, bad.output, bad.packages = "bad", filepath.Join(filepath.Dir(bad.output), "bad"), []string{"example.com/programs/cmd/bad"}
	b.targets = append(b.targets, bad)
	g.Expect(b.build(t.Context())).To(MatchError(And(ContainSubstring("build bad"), ContainSubstring("undefined: undefined"))))
	g.Expect(out.String()).To(ContainSubstring("failed after"))
	g.Expect(b.targets[0].output).To(BeARegularFile(), "finished binaries are kept")
	g.Expect(filepath.Join(filepath.Dir(bad.output), ".bad")).NotTo(BeAnExistingFile())

	bad.packages = []string{"example.com/programs/cmd/missing"}
	b.targets = []target{bad}
	b.progress = newProgress(out, false)
	g.Expect(b.build(t.Context())).To(MatchError(ContainSubstring("cmd/missing")))
}

func TestProgressOnTerminal(t *testing.T) {
	g := NewWithT(t)
	out := &bytes.Buffer{}
	p := newProgress(out, true)
	p.start(1)
	p.expect([]string{"a", "b"})
	p.begin(target{name: "one"})
	g.Expect(p.compiled("a")).To(BeTrue())
	g.Expect(p.compiled("a.go:1:1: oops")).To(BeFalse())
	p.report()
	p.finish(nil)
	g.Expect(out.String()).To(ContainSubstring("\r\x1b[Kbuild: 1 of 1, one: 1 of 2 packages compiled, 0:00"))
	g.Expect(bytes.Count(out.Bytes(), []byte("\n"))).To(Equal(1), "only the last line is not rewritten")
}

func TestPinnedModules(t *testing.T) {
	g := NewWithT(t)
	root, err := Repository()
	g.Expect(err).NotTo(HaveOccurred())
	for name, version := range map[string]string{toolsModule: `1\.\d+`, oldestModule: `1\.30`} {
		module, err := pinned(filepath.Join(root, "test", "framework", "binaries", name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(module.kubernetes).To(MatchRegexp("^" + version + "$"))
		g.Expect(module.flags).To(ContainElement(MatchRegexp(`version\.gitVersion=v` + version + `\.\d+ .*gitMinor=\d+ `)))
	}
	_, err = pinned(t.TempDir())
	g.Expect(err).To(HaveOccurred())
}

func TestTargetsOfOldest(t *testing.T) {
	g := NewWithT(t)
	root, err := Repository()
	g.Expect(err).NotTo(HaveOccurred())
	for _, oldest := range []bool{false, true} {
		targets, err := controlPlaneTargets(root, []string{Etcd, APIServer}, oldest)
		g.Expect(err).NotTo(HaveOccurred())
		into, module := filepath.Join(root, "bin", "k8s"), toolsModule
		if oldest {
			into, module = into+"-1.30", oldestModule
		}
		g.Expect(targets).To(HaveLen(2))
		g.Expect(targets[0].output).To(Equal(filepath.Join(into, Etcd)))
		g.Expect(targets[1].output).To(Equal(filepath.Join(into, APIServer)))
		g.Expect(filepath.Base(targets[0].module)).To(Equal(toolsModule))
		g.Expect(filepath.Base(targets[1].module)).To(Equal(module))
	}
	_, err = controlPlaneTargets(root, []string{"kubelet"}, false)
	g.Expect(err).To(MatchError(ContainSubstring("it has no binary kubelet")))
}

// Programs are compiled by the go command, which finds what is out of date itself.
func TestBuildPrograms(t *testing.T) {
	g := NewWithT(t)
	b, out := testBuilder(t)
	programs := b.targets[0]
	programs.name, programs.fingerprint, programs.flags = "programs", "", []string{"-trimpath"}
	programs.packages = []string{"./cmd/one", "./cmd/two"}
	programs.output = filepath.Dir(programs.output) + string(filepath.Separator)
	b.targets = []target{programs}
	g.Expect(b.build(t.Context())).To(Succeed())
	for _, name := range []string{"one", "two"} {
		g.Expect(target{output: filepath.Join(programs.output, name)}.run()).To(Equal("hello " + name + "\n"))
	}
	g.Expect(out.String()).To(ContainSubstring("1 of 1, programs: 0 of 1 packages compiled"))

	out.Reset()
	b.progress = newProgress(out, false)
	g.Expect(b.build(t.Context())).To(Succeed())
	g.Expect(out.String()).To(BeEmpty(), "nothing was out of date")
}

// The control plane and the operator share the compiled packages of modules of the same
// version: otherwise a fresh machine compiles client-go twice.
func TestSharedModulesHaveOneVersion(t *testing.T) {
	g := NewWithT(t)
	root, err := Repository()
	g.Expect(err).NotTo(HaveOccurred())
	versions := func(module string, arguments ...string) map[string]string {
		list := exec.Command("go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}"}, arguments...)...)
		list.Dir = module
		output, err := list.Output()
		g.Expect(err).NotTo(HaveOccurred())
		found := map[string]string{}
		for line := range strings.Lines(string(output)) {
			if path, version, _ := strings.Cut(strings.TrimSpace(line), " "); version != "" {
				found[path] = version
			}
		}
		return found
	}
	operator := versions(root, "./cmd/manager", "./cmd/fakescheduler", "./cmd/demo")
	controlPlane := versions(filepath.Join(root, "test", "framework", "binaries", toolsModule), "tool")
	for path := range operator {
		if _, shared := controlPlane[path]; !shared {
			delete(operator, path)
		}
	}
	for path := range controlPlane {
		if _, shared := operator[path]; !shared {
			delete(controlPlane, path)
		}
	}
	g.Expect(operator).To(HaveKey("k8s.io/client-go"))
	g.Expect(controlPlane).To(Equal(operator), "run \"go get MODULE@VERSION\" in test/framework/binaries/tools")
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
