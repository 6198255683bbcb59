package helm

import (
	"strings"
	"testing"
)

// Environment variables of Helm are not passed on.
func TestUserEnvironmentIsIgnored(t *testing.T) {
	for _, variable := range []string{"HELM_NAMESPACE", "HELM_KUBECONTEXT", "HELM_DRIVER", "HELM_PLUGINS", "HELM_CACHE_HOME"} {
		t.Setenv(variable, "stranger")
	}
	output, err := Helm{Home: t.TempDir()}.Run(t.Context(), nil, "env")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output, "HELM_NAMESPACE") || strings.Contains(output, "stranger") {
		t.Errorf("helm env printed\n%s", output)
	}
}
