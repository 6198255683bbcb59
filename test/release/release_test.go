// Package release_test makes a release twice, in two folders, and looks at what
// is in it: with other programs than those that wrote it.
package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	version = "0.0.1-test"
	image   = "registry.example/seldon-operator"
)

// TestRelease has one release for all of its parts: it takes some time to make.
func TestRelease(t *testing.T) {
	first, commit := release(t)
	second, _ := release(t)

	t.Run("is the same wherever it is made", func(t *testing.T) {
		for name, content := range first {
			if !bytes.Equal(content, second[name]) {
				t.Errorf("%s differs", name)
			}
		}
	})
	t.Run("has what it should and sums of it", func(t *testing.T) {
		want := []string{
			"SHA256SUMS", "crds.yaml", "image.tar", "install-namespaced.yaml", "install.yaml", "manager-linux-amd64",
			"manager-linux-amd64.spdx.json", "manager-linux-arm64", "manager-linux-arm64.spdx.json",
		}
		charts, _ := filepath.Glob("../../charts/*/Chart.yaml")
		for _, chart := range charts {
			want = append(want, filepath.Base(filepath.Dir(chart))+"-"+version+".tgz")
		}
		slices.Sort(want)
		var got []string
		for name := range first {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		for _, name := range got[1:] {
			if sum := sha256.Sum256(first[name]); !strings.Contains(string(first["SHA256SUMS"]), hex.EncodeToString(sum[:])+"  "+name+"\n") {
				t.Errorf("SHA256SUMS has not the sum of %s", name)
			}
		}
	})
	t.Run("manifests", func(t *testing.T) {
		for _, name := range []string{"install.yaml", "install-namespaced.yaml"} {
			if !regexp.MustCompile(`\bimage: ` + image + `:` + version + `\n`).Match(first[name]) {
				t.Errorf("%s does not run %s:%s", name, image, version)
			}
		}
		if kinds := bytes.Count(first["crds.yaml"], []byte("\nkind: CustomResourceDefinition\n")); kinds != 7 {
			t.Errorf("crds.yaml has %d CustomResourceDefinitions, want 7", kinds)
		}
	})
	t.Run("charts", func(t *testing.T) {
		for name := range first {
			chart, found := strings.CutSuffix(name, "-"+version+".tgz")
			if !found {
				continue
			}
			var metadata struct{ Name, Version, AppVersion string }
			if err := yaml.Unmarshal(unpack(t, gunzip(t, first[name]))[chart+"/Chart.yaml"], &metadata); err != nil {
				t.Fatal(err)
			}
			if metadata.Name != chart || metadata.Version != version || metadata.AppVersion != version {
				t.Errorf("%s: got %+v", name, metadata)
			}
		}
	})

	blobs := unpack(t, first["image.tar"])
	platforms := imagesOf(t, blobs)
	if len(platforms) != 2 {
		t.Fatalf("the image is for %d platforms, want 2", len(platforms))
	}
	for platform, i := range platforms {
		name := "manager-" + strings.ReplaceAll(platform, "/", "-")
		t.Run(name, func(t *testing.T) {
			config := i.config
			if config.OS+"/"+config.Architecture != platform || config.Config.User != "65532:65532" ||
				!slices.Equal(config.Config.Entrypoint, []string{"/manager"}) || config.Created != "2026-01-02T03:04:05Z" {
				t.Errorf("got the configuration %+v", config)
			}
			for key, want := range map[string]string{"version": version, "revision": commit, "created": "2026-01-02T03:04:05Z"} {
				if got := config.Config.Labels["org.opencontainers.image."+key]; got != want {
					t.Errorf("label %s is %q, want %q", key, got, want)
				}
			}
			files := unpack(t, gunzip(t, i.layer))
			if len(files) != 1 || !bytes.Equal(files["manager"], first[name]) {
				t.Errorf("the layer is not just %s as /manager", name)
			}
			checkBill(t, first[name+".spdx.json"], first[name], i.digest)
		})
	}
	t.Run("the program says what it is", func(t *testing.T) {
		here := platforms["linux/"+runtime.GOARCH]
		path := filepath.Join(t.TempDir(), "manager")
		if err := os.WriteFile(path, unpack(t, gunzip(t, here.layer))["manager"], 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "--version").Output()
		if want := version + ", commit " + commit + " of 2026-01-02T03:04:05Z, go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("got %q, %v; want %q first", out, err, want)
		}
	})
}

func TestReleaseRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"a version that is none":            {[]string{"VERSION=latest", "DIST=" + t.TempDir()}, "make release VERSION=0.1.0"},
		"to remove what it did not make":    {[]string{"VERSION=" + version, "DIST=" + full}, "holds something else than a release"},
		"to make a release without version": {[]string{"DIST=" + t.TempDir()}, "make release VERSION=0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			command := exec.Command("make", append([]string{"-C", "../..", "release"}, c.arguments...)...)
			command.Env = environment()
			if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v and %s; want %q", err, out, c.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(full, "mine")); err != nil {
		t.Error(err)
	}
}

// release copies the sources to a new folder, commits them there, always as the
// same commit, and makes a release. It returns its files and the commit.
func release(t *testing.T) (map[string][]byte, string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for path := range strings.SplitSeq(run(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		info, err := os.Lstat(filepath.Join(root, path))
		if errors.Is(err, os.ErrNotExist) || path == "" || err == nil && !info.Mode().IsRegular() {
			continue // deleted and not yet committed, or no source
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, path), content, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	run(t, to, "git", "init", "--quiet")
	run(t, to, "git", "add", "--all")
	run(t, to, "git", "commit", "--quiet", "--no-gpg-sign", "--message", "Sources")
	dist := filepath.Join(t.TempDir(), "release")
	// The tools are those of this repository, which the copy's files look newer than.
	run(t, to, "make", "release", "VERSION="+version, "IMAGE="+image, "DIST="+dist,
		"KUSTOMIZE="+filepath.Join(root, "bin/kustomize"), "HELM="+filepath.Join(root, "bin/helm"),
		"--assume-old=hack/tools/go.mod", "--assume-old=hack/tools/go.sum")
	if changed := run(t, to, "git", "status", "--porcelain"); changed != "" {
		t.Errorf("the release changed the sources: %s", changed)
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dist, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files, strings.TrimSpace(run(t, to, "git", "rev-parse", "HEAD"))
}

// environment is that of the test, without what a make that runs it hands down.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "VERSION", "IMAGE", "DIST", "PLATFORMS"}, name)
	})
}

// run returns what a command prints, and ends the test if it fails.
func run(t *testing.T, directory, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Dir = directory
	command.Env = append(environment(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(arguments, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// descriptor is how OCI documents point to one another.
type descriptor struct {
	Digest   string
	Platform struct{ OS, Architecture string }
}

type platformImage struct {
	digest string
	layer  []byte
	config struct {
		Created, OS, Architecture string
		Config                    struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
}

// imagesOf follows an image layout from its index to the images, by platform.
func imagesOf(t *testing.T, files map[string][]byte) map[string]platformImage {
	t.Helper()
	blob := func(d descriptor) []byte {
		content := files["blobs/"+strings.ReplaceAll(d.Digest, ":", "/")]
		if sum := sha256.Sum256(content); "sha256:"+hex.EncodeToString(sum[:]) != d.Digest {
			t.Fatalf("blob %s is missing or another", d.Digest)
		}
		return content
	}
	var top, index struct{ Manifests []descriptor }
	decode(t, files["index.json"], &top)
	if len(top.Manifests) != 1 {
		t.Fatalf("the layout has %d images, want 1", len(top.Manifests))
	}
	decode(t, blob(top.Manifests[0]), &index)
	images := map[string]platformImage{}
	for _, d := range index.Manifests {
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		decode(t, blob(d), &manifest)
		if len(manifest.Layers) != 1 {
			t.Fatalf("an image has %d layers, want 1", len(manifest.Layers))
		}
		i := platformImage{digest: d.Digest, layer: blob(manifest.Layers[0])}
		decode(t, blob(manifest.Config), &i.config)
		images[d.Platform.OS+"/"+d.Platform.Architecture] = i
	}
	return images
}

// checkBill holds a bill of materials to what the program says it has.
func checkBill(t *testing.T, bill, program []byte, digest string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{info.Main.Path + " " + version, "stdlib " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, dependency := range info.Deps {
		want = append(want, dependency.Path+" "+dependency.Version)
	}
	var document struct {
		SPDXVersion string
		Packages    []struct {
			Name, SPDXID, VersionInfo, PrimaryPackagePurpose string
			Checksums                                        []struct{ ChecksumValue string }
		}
		Relationships []struct{ RelatedSPDXElement string }
	}
	decode(t, bill, &document)
	var got, identifiers, related []string
	for _, p := range document.Packages {
		identifiers = append(identifiers, p.SPDXID)
		if p.PrimaryPackagePurpose != "CONTAINER" {
			got = append(got, p.Name+" "+p.VersionInfo)
		} else if "sha256:"+p.Checksums[0].ChecksumValue != digest {
			t.Errorf("it is of the image %v, want %s", p.Checksums, digest)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if document.SPDXVersion != "SPDX-2.3" || !slices.Equal(got, want) {
		t.Errorf("got  %s %v\nwant %v", document.SPDXVersion, got, want)
	}
	for _, r := range document.Relationships {
		related = append(related, r.RelatedSPDXElement)
	}
	slices.Sort(identifiers)
	slices.Sort(related)
	if !slices.Equal(slices.Compact(slices.Clone(identifiers)), identifiers) || !slices.Equal(identifiers, related) {
		t.Errorf("the packages %v are not each related once: %v", identifiers, related)
	}
}

func decode(t *testing.T, content []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(content, to); err != nil {
		t.Fatalf("%v in %q", err, content)
	}
}

// unpack returns the files of a tar archive.
func unpack(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	archive := tar.NewReader(bytes.NewReader(content))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func gunzip(t *testing.T, content []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}
