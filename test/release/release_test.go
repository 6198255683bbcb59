// Package release_test builds a release twice, in two directories, and checks its
// files with other libraries than those that wrote them.
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
	goversion "go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	version = "0.0.1-test"
	image   = "registry.example/seldon-operator"
)

// TestRelease uses one release for all subtests, since building it takes some time. With
// -short it is for this machine's architecture only.
func TestRelease(t *testing.T) {
	architectures := []string{"amd64", "arm64"}
	if testing.Short() {
		architectures = []string{runtime.GOARCH}
	}
	linux := "linux/" + strings.Join(architectures, " linux/")
	pluginPlatforms := linux
	if !testing.Short() {
		pluginPlatforms += " darwin/arm64 windows/amd64"
	}
	from := sources(t)
	arguments := []string{"PLATFORMS=" + linux, "PLUGIN_PLATFORMS=" + pluginPlatforms, "DOWNLOADS=https://example.com"}
	first, second := release(t, from, arguments...), release(t, clone(t, from), arguments...)
	commit := strings.TrimSpace(git(t, from, "rev-parse", "HEAD"))

	t.Run("is reproducible", func(t *testing.T) {
		for name, content := range first {
			if !bytes.Equal(content, second[name]) {
				t.Errorf("%s differs", name)
			}
		}
	})
	t.Run("has all files and their checksums", func(t *testing.T) {
		want := []string{"SHA256SUMS", "crds.yaml", "image.tar", "install-namespaced.yaml", "install.yaml", "seldon.yaml"}
		for platform := range strings.FieldsSeq(pluginPlatforms) {
			want = append(want, pluginArchive(platform))
		}
		for _, architecture := range architectures {
			want = append(want, "manager-linux-"+architecture, "manager-linux-"+architecture+".spdx.json")
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
				t.Errorf("SHA256SUMS does not have the checksum of %s", name)
			}
		}
	})
	t.Run("manifests", func(t *testing.T) {
		for _, name := range []string{"install.yaml", "install-namespaced.yaml"} {
			if !regexp.MustCompile(`\bimage: ` + image + `:` + version + `\n`).Match(first[name]) {
				t.Errorf("%s does not have the image %s:%s", name, image, version)
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
	if len(platforms) != len(architectures) {
		t.Fatalf("the image is for %d platforms, want %d", len(platforms), len(architectures))
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
			plugin := unpack(t, gunzip(t, first[pluginArchive(platform)]))["kubectl-seldon"]
			if len(files) != 2 || !bytes.Equal(files["manager"], first[name]) || !bytes.Equal(files["kubectl-seldon"], plugin) {
				t.Errorf("the layer is not just %s as /manager, and the plugin", name)
			}
			checkSBOM(t, first[name+".spdx.json"], i.digest, first[name], plugin)
		})
	}
	t.Run("plugin", func(t *testing.T) {
		var manifest struct {
			Spec struct {
				Version   string
				Platforms []struct {
					URI, SHA256 string
					Files       []struct{ From string }
					Selector    struct {
						MatchLabels struct{ OS, Arch string }
					}
				}
			}
		}
		if err := yaml.Unmarshal(first["seldon.yaml"], &manifest); err != nil {
			t.Fatal(err)
		}
		if len(manifest.Spec.Platforms) != len(strings.Fields(pluginPlatforms)) || manifest.Spec.Version != "v"+version {
			t.Errorf("got %+v", manifest)
		}
		for _, platform := range manifest.Spec.Platforms {
			name := pluginArchive(platform.Selector.MatchLabels.OS + "/" + platform.Selector.MatchLabels.Arch)
			if sum := sha256.Sum256(first[name]); platform.URI != "https://example.com/v"+version+"/"+name || platform.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("%s: got %+v", name, platform)
			}
		}
		files := unpack(t, gunzip(t, first[pluginArchive("linux/"+runtime.GOARCH)]))
		for _, file := range manifest.Spec.Platforms[0].Files {
			if files[file.From] == nil {
				t.Errorf("the archive has no %s", file.From)
			}
		}
		folder := t.TempDir()
		for _, program := range []string{"kubectl-seldon", "kubectl_complete-seldon"} {
			if err := os.WriteFile(filepath.Join(folder, program), files[program], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(filepath.Join(folder, "kubectl-seldon"), "version", "--client").Output()
		if want := "kubectl seldon: " + version + ", commit " + commit + " of 2026-01-02T03:04:05Z, go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("got %q, %v; want %q first", out, err, want)
		}
		fastest := time.Hour
		for range 5 {
			// The time of the processor does not depend on other processes.
			command := exec.Command(filepath.Join(folder, "kubectl-seldon"), "version", "--client")
			if err := command.Run(); err != nil {
				t.Fatal(err)
			}
			fastest = min(fastest, command.ProcessState.UserTime()+command.ProcessState.SystemTime())
		}
		if limit := 60 * time.Millisecond; fastest > limit {
			t.Errorf("version takes %s, want at most %s", fastest, limit)
		}
		completion := exec.Command(filepath.Join(folder, "kubectl_complete-seldon"), "tre")
		completion.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
		if out, err := completion.Output(); err != nil || !strings.HasPrefix(string(out), "tree\t") {
			t.Errorf("got %q, %v; want the completion tree", out, err)
		}
	})
	t.Run("the program prints its version", func(t *testing.T) {
		native := platforms["linux/"+runtime.GOARCH]
		path := filepath.Join(t.TempDir(), "manager")
		if err := os.WriteFile(path, unpack(t, gunzip(t, native.layer))["manager"], 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "--version").Output()
		if want := version + ", commit " + commit + " of 2026-01-02T03:04:05Z, go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("got %q, %v; want %q first", out, err, want)
		}
	})
}

func TestReleaseRejects(t *testing.T) {
	from := sources(t)
	changed, worktree := clone(t, from), filepath.Join(t.TempDir(), "worktree")
	git(t, from, "worktree", "add", "--quiet", worktree)
	write(t, filepath.Join(changed, "new.go"), "package main")
	foreign, mixed := t.TempDir(), earlierRelease(t)
	write(t, filepath.Join(foreign, "image.tar"), "")
	write(t, filepath.Join(mixed, "mine"), "")
	for name, c := range map[string]struct {
		sources, version, dist string
		want                   string
	}{
		"an invalid version":           {from, "latest", earlierRelease(t), "make release VERSION=0.1.0"},
		"the version of local builds":  {from, "dev", earlierRelease(t), "make release VERSION=0.1.0"},
		"a directory with other files": {from, version, foreign, "such as image.tar"},
		"a release with other files":   {from, version, mixed, "such as mine"},
		"a commit without its tag":     {from, "0.0.2", earlierRelease(t), "git tag v0.0.2"},
		"uncommitted changes":          {changed, version, earlierRelease(t), "?? new.go"},
		"a linked worktree":            {worktree, version, earlierRelease(t), "build the release in a clone"},
	} {
		t.Run(name, func(t *testing.T) {
			before := names(t, c.dist)
			if out, err := makeRelease(t, c.sources, "VERSION="+c.version, "DIST="+c.dist).CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v and %s; want %q", err, out, c.want)
			}
			if after := names(t, c.dist); !slices.Equal(before, after) {
				t.Errorf("the files in DIST changed from %v to %v", before, after)
			}
		})
	}
}

// The Go version of the Dockerfile is exact, and not older than that of go.mod.
func TestDockerfileGoVersion(t *testing.T) {
	find := func(file, pattern string) string {
		content, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s: nothing matches %s", file, pattern)
		}
		return "go" + string(found[1])
	}
	image, required := find("Dockerfile", `(?m)^ARG GO_IMAGE=\S+:(\d+\.\d+\.\d+)$`), find("go.mod", `(?m)^go (\S+)$`)
	if goversion.Compare(image, required) < 0 {
		t.Errorf("the Dockerfile has %s, go.mod requires %s", image, required)
	}
}

// pluginArchive returns the name of the plugin's archive for a platform.
func pluginArchive(platform string) string {
	name := "kubectl-seldon-" + strings.ReplaceAll(platform, "/", "-")
	if strings.HasPrefix(platform, "windows/") {
		return name + ".zip"
	}
	return name + ".tar.gz"
}

// names returns the names of the files in a directory.
func names(t *testing.T, folder string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

// earlierRelease returns a directory with an earlier release, whose only file is not
// part of a current one.
func earlierRelease(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "old"), "")
	write(t, filepath.Join(folder, "SHA256SUMS"), strings.Repeat("0", sha256.Size*2)+"  old\n")
	return folder
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sources copies the sources to a new directory, and commits and tags them there.
func sources(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	for path := range strings.SplitSeq(string(files), "\x00") {
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
	git(t, to, "init", "--quiet")
	git(t, to, "add", "--all")
	git(t, to, "commit", "--quiet", "--message", "Sources")
	git(t, to, "tag", "v"+version)
	return to
}

// clone returns another directory with the sources, with the same commit and tag.
func clone(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "clone")
	git(t, from, "clone", "--quiet", ".", to)
	return to
}

// makeRelease returns the command that builds a release of sources with the tools of
// this repository. The copied go.mod is newer than the tools, which make must ignore.
func makeRelease(t *testing.T, sources string, arguments ...string) *exec.Cmd {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("make", append(arguments, "release",
		"KUSTOMIZE="+filepath.Join(root, "bin/kustomize"), "HELM="+filepath.Join(root, "bin/helm"),
		"--assume-old=hack/tools/go.mod", "--assume-old=hack/tools/go.sum")...)
	command.Dir, command.Env = sources, environment()
	return command
}

// release builds a release and returns its files.
func release(t *testing.T, from string, arguments ...string) map[string][]byte {
	t.Helper()
	dist := earlierRelease(t)
	if out, err := makeRelease(t, from, append(arguments, "VERSION="+version, "IMAGE="+image, "DIST="+dist)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if changed := git(t, from, "status", "--porcelain"); changed != "" {
		t.Errorf("the release changed the sources: %s", changed)
	}
	files := map[string][]byte{}
	for _, name := range names(t, dist) {
		content, err := os.ReadFile(filepath.Join(dist, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = content
	}
	return files
}

// environment returns the environment of the test without the variables of a make that
// runs it, and without the user's git configuration, which may sign commits.
func environment() []string {
	variables := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "GIT_") || slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "VERSION", "IMAGE", "DIST", "PLATFORMS", "PLUGIN_PLATFORMS", "DOWNLOADS"}, name)
	})
	return append(variables, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com")
}

// git runs git and returns its output. It ends the test on an error.
func git(t *testing.T, directory string, arguments ...string) string {
	t.Helper()
	command := exec.Command("git", arguments...)
	command.Dir = directory
	command.Env = environment()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("git %s: %v\n%s%s", strings.Join(arguments, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// descriptor is an OCI descriptor, a reference to a blob.
type descriptor struct {
	Digest   string
	Platform struct{ OS, Architecture string }
}

// platformImage is the image for one platform.
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

// imagesOf returns the images in an OCI image layout, by platform.
func imagesOf(t *testing.T, files map[string][]byte) map[string]platformImage {
	t.Helper()
	blob := func(d descriptor) []byte {
		content := files["blobs/"+strings.ReplaceAll(d.Digest, ":", "/")]
		if sum := sha256.Sum256(content); "sha256:"+hex.EncodeToString(sum[:]) != d.Digest {
			t.Fatalf("blob %s is missing or has another digest", d.Digest)
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

// checkSBOM compares a bill of materials with the build information of the programs.
func checkSBOM(t *testing.T, sbom []byte, digest string, programs ...[]byte) {
	t.Helper()
	var want []string
	for _, program := range programs {
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		goVersion := strings.TrimPrefix(info.GoVersion, "go")
		want = append(want,
			info.Main.Path+" "+version+" pkg:golang/"+info.Main.Path+"@v"+version, "stdlib "+goVersion+" pkg:golang/stdlib@"+goVersion)
		for _, dependency := range info.Deps {
			want = append(want, dependency.Path+" "+dependency.Version+" pkg:golang/"+dependency.Path+"@"+strings.ReplaceAll(dependency.Version, "+", "%2B"))
		}
	}
	var document struct {
		SPDXVersion string
		Packages    []struct {
			Name, SPDXID, VersionInfo, PrimaryPackagePurpose string
			Checksums                                        []struct{ ChecksumValue string }
			ExternalRefs                                     []struct{ ReferenceLocator string }
		}
		Relationships []struct{ RelatedSPDXElement string }
	}
	decode(t, sbom, &document)
	var got, identifiers, related []string
	for _, p := range document.Packages {
		identifiers = append(identifiers, p.SPDXID)
		if p.PrimaryPackagePurpose != "CONTAINER" {
			got = append(got, p.Name+" "+p.VersionInfo+" "+p.ExternalRefs[0].ReferenceLocator)
		} else if "sha256:"+p.Checksums[0].ChecksumValue != digest {
			t.Errorf("the SBOM is of the image %v, want %s", p.Checksums, digest)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	want = slices.Compact(want)
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
