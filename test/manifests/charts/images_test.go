package charts_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// The default images have a version, so that the data plane only changes with the
// configuration. Those of Seldon Core 2 have the same version in the chart, in config
// and in the examples: the one that docs/reference/supported-versions.md has.
func TestImagesHaveVersions(t *testing.T) {
	setupValues := defaults(t, setup)
	version, _ := leaves(setupValues)["scheduler.image.tag"].(string)
	if version == "" {
		t.Fatalf("scheduler.image.tag of %s is not a string", helm.Chart(setup))
	}
	for key, value := range leaves(setupValues) {
		component, isTag := strings.CutSuffix(key, ".image.tag")
		repository, _ := leaves(setupValues)[component+".image.repository"].(string)
		if isTag && strings.HasPrefix(repository, "seldonio/seldon-") && value != version {
			t.Errorf("%s is %v, and scheduler.image.tag is %s", key, value, version)
		}
	}

	const root = "../../.."
	image := regexp.MustCompile(`(?m)^\s*(?:- )?image: "?([^\s"]+)`)
	found := 0
	for _, folder := range []string{"config", "hack/reference/examples"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" || strings.Contains(path, "/crd/") {
				return err
			}
			content, err := os.ReadFile(path)
			for _, match := range image.FindAllStringSubmatch(string(content), -1) {
				// The manager's image is set in config/manager/kustomization.yaml.
				name, tag, _ := strings.Cut(match[1], ":")
				switch found++; {
				case strings.Contains(name, "seldonio/seldon-") && tag != version:
					t.Errorf("%s: image %s does not have the version %s of the charts", path, match[1], version)
				case tag == "latest", tag == "" && name != "controller":
					t.Errorf("%s: image %s has no version", path, match[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("found no images")
	}
	page := string(read(t, filepath.Join(root, "docs/reference/supported-versions.md")))
	if !strings.Contains(page, "| Seldon Core | "+version+" |") {
		t.Errorf("docs/reference/supported-versions.md does not have the version %s", version)
	}
}
