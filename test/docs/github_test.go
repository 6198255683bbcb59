package docs_test

import (
	"fmt"
	"go/version"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// github is the folder with the configuration of GitHub.
const github = "../.github"

// goVersion matches the line of a go.mod file with the version of Go.
var goVersion = regexp.MustCompile(`(?m)^go (\S+)$`)

// goModules returns the version of Go of each module in git, by its folder, which begins
// with a slash.
func goModules(t *testing.T) map[string]string {
	t.Helper()
	list := exec.Command("git", "ls-files", ":/go.mod", ":/*/go.mod")
	list.Dir = ".."
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for file := range strings.FieldsSeq(string(files)) {
		match := goVersion.FindStringSubmatch(read(t, filepath.Join("..", file)))
		if match == nil {
			t.Fatalf("%s has no version of Go", file)
		}
		found[path.Join("/", path.Dir(file))] = "go" + match[1]
	}
	return found
}

// configuration decodes a file of GitHub. Fields that are not in content are ignored.
func configuration(t *testing.T, file string, content any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(github, file))), content); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestGitHubFilesAreYAML(t *testing.T) {
	found := 0
	err := filepath.WalkDir(github, func(file string, _ fs.DirEntry, err error) error {
		if err == nil && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(file)) {
			found++
			content := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(read(t, file)), &content); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Errorf("%s has no YAML", github)
	}
}

// The workflow runs .ci/run and nothing else, with the version of Go that the newest
// module needs, on changes and on the main branch, and can only read the repository.
func TestWorkflowRunsCI(t *testing.T) {
	var workflow struct {
		On          map[string]any
		Permissions map[string]string
		Jobs        map[string]struct {
			TimeoutMinutes int `json:"timeout-minutes"`
			Permissions    map[string]string
			Steps          []struct {
				Uses, Run string
				With      map[string]any
			}
		}
	}
	configuration(t, "workflows/ci.yaml", &workflow)
	for _, event := range []string{"push", "pull_request"} {
		if _, has := workflow.On[event]; !has {
			t.Errorf("CI does not run on %s", event)
		}
	}
	if got := fmt.Sprint(workflow.Permissions); got != "map[contents:read]" {
		t.Errorf("CI has the permissions %s", got)
	}
	var runs []string
	needed := slices.MaxFunc(slices.Collect(maps.Values(goModules(t))), version.Compare)
	installed := ""
	for name, job := range workflow.Jobs {
		if job.TimeoutMinutes == 0 || job.Permissions != nil {
			t.Errorf("job %s has no timeout, or permissions of its own", name)
		}
		for _, step := range job.Steps {
			if step.Run != "" {
				runs = append(runs, step.Run)
			}
			action, tag, _ := strings.Cut(step.Uses, "@")
			if step.Uses != "" && !regexp.MustCompile(`^v\d`).MatchString(tag) {
				t.Errorf("%s has no version", step.Uses)
			}
			if file, isText := step.With["go-version-file"].(string); action == "actions/setup-go" && isText {
				installed = goModules(t)[path.Join("/", path.Dir(file))]
			}
		}
	}
	if !slices.Equal(runs, []string{".ci/run"}) {
		t.Errorf("CI runs %q", runs)
	}
	if installed != needed {
		t.Errorf("CI installs %s, and a module needs %s", installed, needed)
	}
}

// Dependabot updates every Go module but that of the oldest supported Kubernetes, the
// actions and the base images.
func TestDependabotHasAllModules(t *testing.T) {
	var dependabot struct {
		Updates []struct {
			PackageEcosystem string `json:"package-ecosystem"`
			Directory        string
			Directories      []string
		}
	}
	configuration(t, "dependabot.yml", &dependabot)
	folders := map[string][]string{}
	for _, update := range dependabot.Updates {
		folders[update.PackageEcosystem] = update.Directories
		if update.Directory != "" {
			folders[update.PackageEcosystem] = []string{update.Directory}
		}
	}
	modules := goModules(t)
	delete(modules, "/test/framework/binaries/oldest")
	if want, got := slices.Sorted(maps.Keys(modules)), slices.Sorted(slices.Values(folders["gomod"])); !slices.Equal(got, want) {
		t.Errorf("Go modules of dependabot.yml: %q, of git: %q", got, want)
	}
	for _, other := range []string{"github-actions", "docker"} {
		if len(folders[other]) == 0 {
			t.Errorf("dependabot.yml has no %s", other)
		}
	}
}
