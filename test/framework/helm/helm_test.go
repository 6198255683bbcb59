package helm

import (
	"strings"
	"testing"
)

// What somebody has set for their own Helm says nothing to that of a test.
func TestTheEnvironmentOfWhoeverRunsItStaysOut(t *testing.T) {
	for _, variable := range []string{"HELM_NAMESPACE", "HELM_KUBECONTEXT", "HELM_DRIVER", "HELM_PLUGINS", "HELM_CACHE_HOME"} {
		t.Setenv(variable, "stranger")
	}
	told, err := Helm{Home: t.TempDir()}.Run(t.Context(), nil, "env")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told, "HELM_NAMESPACE") || strings.Contains(told, "stranger") {
		t.Errorf("helm goes by:\n%s", told)
	}
}
