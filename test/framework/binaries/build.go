package binaries

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// target is the output of one run of the go command.
type target struct {
	// name is the name of the binary, or describes several.
	name string
	// packages are the import paths of the main packages.
	packages []string
	// module is the directory of the module to build in.
	module string
	// flags are the flags of the build.
	flags []string
	// output is the path of the binary, or the directory of several, which ends in a
	// separator.
	output string
	// fingerprint is a hash of all that determines the binary. If it is empty, the go
	// command decides what is out of date.
	fingerprint string
}

// The modules that pin the versions of the binaries of the control plane. The second has
// only the programs of oldestPrograms, of the oldest version of Kubernetes that the operator
// supports.
const (
	toolsModule  = "tools"
	oldestModule = "oldest"
)

// oldestPrograms are the binaries that Options.Oldest builds from oldestModule. The others
// are those of toolsModule: etcd and kwok also work with an old API server.
var oldestPrograms = []string{APIServer, ControllerManager, Scheduler}

// controlPlane are the import paths of the binaries of the control plane.
var controlPlane = map[string]string{
	Etcd:              "go.etcd.io/etcd/server/v3",
	APIServer:         "k8s.io/kubernetes/cmd/kube-apiserver",
	ControllerManager: "k8s.io/kubernetes/cmd/kube-controller-manager",
	Scheduler:         "k8s.io/kubernetes/cmd/kube-scheduler",
	Kubectl:           "k8s.io/kubernetes/cmd/kubectl",
	Kwok:              "sigs.k8s.io/kwok/cmd/kwok",
}

// Options are what Build builds.
type Options struct {
	// Names are the binaries of the control plane, in the order in which they are built.
	// They are built into bin/k8s of this repository, from the module
	// test/framework/binaries/tools, which pins their versions.
	Names []string
	// Oldest builds kube-apiserver, kube-controller-manager and kube-scheduler of the
	// oldest version that the operator supports, from the module
	// test/framework/binaries/oldest. All of Names are built into bin/k8s-<version>, such as
	// bin/k8s-1.30, also if KUBEBUILDER_ASSETS is set.
	Oldest bool
	// Programs are flags of "go build", followed by main packages of this repository,
	// such as -trimpath ./cmd/manager. They are built into bin, after Names. If it is
	// empty none is built.
	Programs []string
	// Out is where the progress is printed: on a terminal in one line that is rewritten,
	// otherwise in a line every 15 seconds.
	Out      io.Writer
	Terminal bool
}

// Build builds the binaries that are missing or out of date. That takes minutes with an
// empty build cache, and less than a second if everything is up to date.
//
// If KUBEBUILDER_ASSETS is set, it builds no binary of the control plane, unless
// Options.Oldest, and prints that. It needs the go command and, the first time, a module
// proxy. It needs no C compiler.
func Build(ctx context.Context, opts Options) error {
	root, err := Repository()
	if err != nil {
		return err
	}
	names := opts.Names
	if assets := os.Getenv(AssetsVariable); assets != "" && len(names) > 0 && !opts.Oldest {
		if _, err := fmt.Fprintf(opts.Out, "build: %s is set: using the control plane in %s\n", AssetsVariable, assets); err != nil {
			return err
		}
		names = nil
	}
	b := &builder{progress: newProgress(opts.Out, opts.Terminal)}
	if b.targets, err = controlPlaneTargets(root, names, opts.Oldest); err != nil {
		return fmt.Errorf("build the control plane: %w", err)
	}
	if len(opts.Programs) > 0 {
		first := slices.IndexFunc(opts.Programs, func(argument string) bool { return strings.HasPrefix(argument, "./") })
		if first < 0 {
			return fmt.Errorf("build %v: a package that starts with ./ is missing", opts.Programs)
		}
		b.targets = append(b.targets, target{
			name: "operator", packages: opts.Programs[first:], module: root, flags: opts.Programs[:first],
			output: filepath.Join(root, "bin") + string(filepath.Separator),
		})
	}
	return b.build(ctx)
}

// controlPlaneTargets returns the targets of binaries of the control plane.
func controlPlaneTargets(root string, names []string, oldest bool) ([]target, error) {
	modules := filepath.Join(root, "test", "framework", "binaries")
	tools, err := pinned(filepath.Join(modules, toolsModule))
	if err != nil {
		return nil, err
	}
	old, output := tools, filepath.Join(root, "bin", "k8s")
	if oldest {
		// Without cloud providers, whose libraries take minutes to compile.
		if old, err = pinned(filepath.Join(modules, oldestModule), "-tags", "providerless"); err != nil {
			return nil, err
		}
		output += "-" + old.kubernetes
	}
	var targets []target
	for _, name := range names {
		pkg, known := controlPlane[name]
		if !known {
			return nil, fmt.Errorf("it has no binary %s: it has %s",
				name, strings.Join(slices.Sorted(maps.Keys(controlPlane)), ", "))
		}
		module := tools
		if slices.Contains(oldestPrograms, name) {
			module = old
		}
		targets = append(targets, target{name, []string{pkg}, module.directory, module.flags, filepath.Join(output, name), module.fingerprint})
	}
	return targets, nil
}

// builder builds targets.
type builder struct {
	targets  []target
	progress *progress
}

// build builds the targets that are missing or out of date.
func (b *builder) build(ctx context.Context) (err error) {
	var todo []target
	for _, t := range b.targets {
		upToDate, err := t.upToDate()
		if err != nil {
			return fmt.Errorf("build %s: %w", t.name, err)
		}
		if !upToDate {
			todo = append(todo, t)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	b.progress.start(len(todo))
	defer func() { b.progress.finish(err) }()
	for _, t := range todo {
		if err := b.resolve(ctx, t); err != nil {
			return err
		}
	}
	for _, t := range todo {
		b.progress.begin(t)
		if err := b.buildOne(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// stamp returns the path of the file with the fingerprint of a binary.
func (t target) stamp() string {
	return filepath.Join(filepath.Dir(t.output), ".stamps", t.name)
}

// upToDate returns whether a binary exists and was built with the fingerprint.
func (t target) upToDate() (bool, error) {
	if t.fingerprint == "" {
		return false, nil
	}
	for _, file := range []string{t.output, t.stamp()} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	content, err := os.ReadFile(t.stamp())
	return string(content) == t.fingerprint, err
}

// kubernetesVersion matches the pinned version of Kubernetes.
var kubernetesVersion = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)`)

// pinnedModule is a module that pins Kubernetes.
type pinnedModule struct {
	directory string
	// kubernetes is the minor version of Kubernetes, such as 1.30.
	kubernetes string
	// flags are the flags to build its binaries with.
	flags []string
	// fingerprint is a hash of everything that determines its binaries.
	fingerprint string
}

// pinned reads the module in a directory. The flags are added to those of the build.
func pinned(directory string, flags ...string) (pinnedModule, error) {
	module := pinnedModule{directory: directory}
	hash := sha256.New()
	var requirements []byte
	for _, name := range []string{"go.sum", "go.mod"} {
		var err error
		if requirements, err = os.ReadFile(filepath.Join(directory, name)); err != nil {
			return module, err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", name, len(requirements), requirements)
	}
	v := kubernetesVersion.FindSubmatch(requirements)
	if v == nil {
		return module, fmt.Errorf("%s does not require k8s.io/kubernetes", filepath.Join(directory, "go.mod"))
	}
	module.kubernetes = fmt.Sprintf("%s.%s", v[2], v[3])
	// Without a version from the linker, Kubernetes' binaries do not work together, and
	// clients report a wrong version.
	const base = " -X k8s.io/component-base/version."
	linker := fmt.Sprintf("-s -w"+base+"gitVersion=%s"+base+"gitMajor=%s"+base+"gitMinor=%s"+base+"gitTreeState=clean", v[1], v[2], v[3])
	linker += fmt.Sprintf(" -X k8s.io/client-go/pkg/version.gitVersion=%s", v[1])
	module.flags = slices.Concat(flags, []string{"-trimpath", "-ldflags", linker})
	_, _ = fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, module.flags)
	module.fingerprint = hex.EncodeToString(hash.Sum(nil))
	return module, nil
}

// resolve downloads the modules of a target, and adds its packages that are not in the
// build cache to those to compile. To the go command a main package is always stale.
func (b *builder) resolve(ctx context.Context, t target) error {
	arguments := slices.Concat([]string{"list", "-deps", "-f", `{{if and .Stale (ne .Name "main")}}{{.ImportPath}}{{end}}`}, t.flags, t.packages)
	stale, err := b.run(ctx, t.module, arguments, func(line string) bool {
		fetching := strings.HasPrefix(line, "go: downloading ")
		if fetching {
			b.progress.fetched()
		}
		return fetching
	})
	if err != nil {
		return fmt.Errorf("find the packages of %s: %w", t.name, err)
	}
	b.progress.expect(strings.Fields(stale))
	return nil
}

// buildOne builds a binary to a temporary file and renames it, so that an interrupted
// build keeps the old one, and a binary that is running is not modified.
func (b *builder) buildOne(ctx context.Context, t target) error {
	unfinished := t.output
	if t.fingerprint != "" {
		unfinished = filepath.Join(filepath.Dir(t.output), "."+t.name)
		if err := os.MkdirAll(filepath.Dir(t.stamp()), 0o755); err != nil {
			return err
		}
	}
	// With -v the go command prints each package that it compiles.
	arguments := slices.Concat([]string{"build", "-v", "-o", unfinished}, t.flags, t.packages)
	if _, err := b.run(ctx, t.module, arguments, b.progress.compiled); err != nil {
		err = fmt.Errorf("build %s: %w", t.name, err)
		if t.fingerprint != "" {
			err = errors.Join(err, os.RemoveAll(unfinished))
		}
		return err
	}
	if t.fingerprint == "" {
		return nil
	}
	if err := os.Rename(unfinished, t.output); err != nil {
		return err
	}
	return os.WriteFile(t.stamp(), []byte(t.fingerprint), 0o600)
}

// quotedLines is the maximum number of lines of the go command's output in an error.
const quotedLines = 30

// run runs the go command in a module and returns its standard output. It calls watch
// with each line of its standard error. Lines for which watch returns false become part
// of an error.
func (b *builder) run(ctx context.Context, module string, arguments []string, watch func(line string) bool) (string, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = module
	// So that no C compiler is needed.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var output bytes.Buffer
	command.Stdout = &output
	messages, err := command.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := command.Start(); err != nil {
		return "", err
	}
	var unknown []string
	lines := bufio.NewScanner(messages)
	for lines.Scan() {
		if !watch(lines.Text()) {
			unknown = append(unknown, lines.Text())
		}
	}
	err = errors.Join(lines.Err(), command.Wait())
	if err != nil && len(unknown) > 0 {
		unknown = unknown[max(0, len(unknown)-quotedLines):]
		err = fmt.Errorf("%w:\n\t%s", err, strings.Join(unknown, "\n\t"))
	}
	return output.String(), err
}
