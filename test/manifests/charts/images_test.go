package charts_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

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
	for page, text := range map[string]string{
		"README.md":                            "Seldon Core " + version,
		"docs/how-to/migration.md":             "Seldon Core " + version,
		"docs/reference/supported-versions.md": "| Seldon Core | " + version + " |",
	} {
		if !strings.Contains(string(read(t, filepath.Join(root, page))), text) {
			t.Errorf("%s does not have %q", page, text)
		}
	}
}

// The values file on the page about migration sets the version of all images of Seldon
// Core 2.
func TestValuesKeepTheVersion(t *testing.T) {
	page := string(read(t, "../../../docs/how-to/migration.md"))
	_, text, found := strings.Cut(page, "```yaml\n# versions.yaml\n")
	text, _, ended := strings.Cut(text, "```")
	with := values{}
	if err := yaml.UnmarshalStrict([]byte(text), &with); err != nil || !found || !ended {
		t.Fatalf("docs/how-to/migration.md: versions.yaml is missing or invalid: %v", err)
	}
	version := leaves(with)["scheduler.image.tag"]
	images := 0
	for place, value := range places(render(t, setup, "seldon-mesh", with)) {
		image := fmt.Sprint(value)
		if strings.HasSuffix(place, "/image") && strings.Contains(image, "seldonio/seldon-") {
			images++
			if !strings.HasSuffix(image, fmt.Sprint(":", version)) {
				t.Errorf("%s is %s", place, image)
			}
		}
	}
	if images < 8 {
		t.Errorf("found %d images", images)
	}
}
