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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// target is a binary to build.
type target struct {
	// name is the name of the binary.
	name string
	// pkg is the import path of the main package.
	pkg string
}

// targets are the binaries of the control plane, in the order in which they are built.
// Their versions are in go.mod of the module tools.
var targets = []target{
	{Etcd, "go.etcd.io/etcd/server/v3"},
	{APIServer, "k8s.io/kubernetes/cmd/kube-apiserver"},
	{ControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{Scheduler, "k8s.io/kubernetes/cmd/kube-scheduler"},
	{Kubectl, "k8s.io/kubernetes/cmd/kubectl"},
	{Kwok, "sigs.k8s.io/kwok/cmd/kwok"},
}

// Build builds the binaries that are missing or out of date into bin/k8s of this
// repository, from the modules that test/framework/binaries/tools pins. That takes
// minutes with an empty build cache, and milliseconds if everything is up to date.
//
// It prints its progress to out: on a terminal in one line that is rewritten, otherwise
// in a line every 15 seconds. If KUBEBUILDER_ASSETS is set it builds nothing, and prints
// that. It needs the go command and, the first time, a module proxy.
func Build(ctx context.Context, out io.Writer, terminal bool) error {
	if assets := os.Getenv(AssetsVariable); assets != "" {
		_, err := fmt.Fprintf(out, "controlplane: %s is set: using the binaries in %s\n", AssetsVariable, assets)
		return err
	}
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	b := &builder{
		module:   filepath.Join(root, "test", "framework", "binaries", "tools"),
		into:     filepath.Join(root, "bin", "k8s"),
		targets:  targets,
		progress: newProgress(out, terminal),
	}
	return b.build(ctx)
}

// builder builds binaries of one module.
type builder struct {
	module   string
	into     string
	targets  []target
	progress *progress
}

// build builds the binaries that are missing or out of date.
func (b *builder) build(ctx context.Context) (err error) {
	fingerprint, flags, err := b.fingerprint()
	if err != nil {
		return fmt.Errorf("build the control plane: %w", err)
	}
	var todo []target
	for _, t := range b.targets {
		upToDate, err := b.upToDate(t, fingerprint)
		if err != nil {
			return fmt.Errorf("build the control plane: %w", err)
		}
		if !upToDate {
			todo = append(todo, t)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(b.into, stampDirectory), 0o755); err != nil {
		return err
	}
	b.progress.start(len(todo), b.into)
	defer func() { b.progress.finish(err) }()
	if err := b.resolve(ctx, todo); err != nil {
		return err
	}
	for _, t := range todo {
		b.progress.begin(t)
		if err := b.buildOne(ctx, t, flags); err != nil {
			return err
		}
		if err := os.WriteFile(b.stamp(t), []byte(fingerprint), 0o600); err != nil {
			return err
		}
		b.progress.end(t)
	}
	return nil
}

// stampDirectory has a file for each binary, with the fingerprint of its sources.
const stampDirectory = ".stamps"

func (b *builder) stamp(t target) string { return filepath.Join(b.into, stampDirectory, t.name) }

// kubernetesVersion matches the pinned version of Kubernetes.
var kubernetesVersion = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)`)

// fingerprint returns a hash of everything that determines the binaries, and the flags
// to build with.
func (b *builder) fingerprint() (fingerprint string, flags []string, err error) {
	hash := sha256.New()
	var requirements []byte
	for _, name := range []string{"go.sum", "go.mod"} {
		if requirements, err = os.ReadFile(filepath.Join(b.module, name)); err != nil {
			return "", nil, err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", name, len(requirements), requirements)
	}
	linker := "-s -w"
	// Without a version from the linker, Kubernetes' binaries do not work together, and
	// clients report a wrong version.
	if v := kubernetesVersion.FindSubmatch(requirements); v != nil {
		const base = " -X k8s.io/component-base/version."
		linker += fmt.Sprintf(base+"gitVersion=%s"+base+"gitMajor=%s"+base+"gitMinor=%s"+base+"gitTreeState=clean", v[1], v[2], v[3])
		linker += fmt.Sprintf(" -X k8s.io/client-go/pkg/version.gitVersion=%s", v[1])
	}
	flags = []string{"-trimpath", "-ldflags", linker}
	_, _ = fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, flags)
	return hex.EncodeToString(hash.Sum(nil)), flags, nil
}

// upToDate returns whether a binary exists and was built with the fingerprint.
func (b *builder) upToDate(t target, fingerprint string) (bool, error) {
	for _, file := range []string{filepath.Join(b.into, t.name), b.stamp(t)} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	content, err := os.ReadFile(b.stamp(t))
	return string(content) == fingerprint, err
}

// resolve downloads the modules, and sets the packages to compile: those that are not in
// the build cache.
func (b *builder) resolve(ctx context.Context, todo []target) error {
	arguments := []string{"list", "-deps", "-trimpath", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}
	for _, t := range todo {
		arguments = append(arguments, t.pkg)
	}
	stale, err := b.run(ctx, arguments, func(line string) bool {
		fetching := strings.HasPrefix(line, "go: downloading ")
		if fetching {
			b.progress.fetched()
		}
		return fetching
	})
	if err != nil {
		return fmt.Errorf("find the packages of the control plane: %w", err)
	}
	b.progress.expect(strings.Fields(stale))
	return nil
}

// buildOne builds a binary to a temporary file and renames it, so that an interrupted
// build keeps the old one, and a binary that is running is not modified.
func (b *builder) buildOne(ctx context.Context, t target, flags []string) error {
	unfinished := filepath.Join(b.into, "."+t.name)
	arguments := append([]string{"build", "-v", "-o", unfinished}, flags...)
	// With -v the go command prints each package that it compiles.
	if _, err := b.run(ctx, append(arguments, t.pkg), b.progress.compiled); err != nil {
		return fmt.Errorf("build %s: %w", t.name, errors.Join(err, os.RemoveAll(unfinished)))
	}
	return os.Rename(unfinished, filepath.Join(b.into, t.name))
}

// quotedLines is the maximum number of lines of the go command's output in an error.
const quotedLines = 30

// run runs the go command in the module and returns its standard output. It calls watch
// with each line of its standard error. Lines for which watch returns false become part
// of an error.
func (b *builder) run(ctx context.Context, arguments []string, watch func(line string) bool) (string, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = b.module
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
