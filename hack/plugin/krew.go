package main

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

const (
	// pluginName is the name of the plugin for kubectl and Krew.
	pluginName = "seldon"
	binaryName = "kubectl-seldon"
	homepage   = "https://github.com/seldon-operator/seldon-operator"
)

const description = `Works with Seldon Core 2 and its operator. It renders SeldonRuntimes and Servers
with the code of the operator, previews what the operator would change and what
that restarts, explains where a field of an object comes from, and shows which
objects of a runtime are not ready, and why.`

// caveats are what users have to do after an installation.
const caveats = `kubectl completes the arguments of the plugin with a script in PATH. To install it:

  cp "${KREW_ROOT:-$HOME/.krew}/store/seldon/v%s/kubectl_complete-seldon" "${KREW_ROOT:-$HOME/.krew}/bin/"
`

// manifest returns the manifest for Krew, for example for
// kubectl krew install --manifest=seldon.yaml --archive=kubectl-seldon-linux-amd64.tar.gz.
func (o options) manifest(archives []archive) ([]byte, error) {
	var platforms []any
	for _, a := range archives {
		var files []any
		for _, f := range a.files {
			files = append(files, map[string]any{"from": f.name, "to": "."})
		}
		platforms = append(platforms, map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"os": a.os, "arch": a.arch}},
			"uri":      fmt.Sprintf("%s/v%s/%s", o.downloads, o.version, a.name), "sha256": a.sha256,
			"bin": a.files[0].name, "files": files,
		})
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "krew.googlecontainertools.github.com/v1alpha2", "kind": "Plugin",
		"metadata": map[string]any{"name": pluginName},
		"spec": map[string]any{
			"version": "v" + o.version, "homepage": homepage, "shortDescription": "Preview and inspect Seldon Core 2",
			"description": description + "\n", "caveats": fmt.Sprintf(caveats, o.version), "platforms": platforms,
		},
	})
}
