// Package config has the configurations of this folder that programs contain: the
// SeldonConfig and the ServerConfigs that a default installation has, and the
// CustomResourceDefinitions, as YAML.
package config

import (
	"embed"
	"path"
	"strings"
)

var (
	// SeldonConfig is the SeldonConfig default.
	//
	//go:embed seldonconfigs/default.yaml
	SeldonConfig string
	// MLServer is the ServerConfig mlserver.
	//
	//go:embed serverconfigs/mlserver.yaml
	MLServer string
	// Triton is the ServerConfig triton.
	//
	//go:embed serverconfigs/triton.yaml
	Triton string
	// MLServerDeployment is the ServerConfig mlserver for Servers that expand into
	// Deployments.
	//
	//go:embed serverconfigs/deployments/mlserver.yaml
	MLServerDeployment string
	// TritonDeployment is the ServerConfig triton for Servers that expand into Deployments.
	//
	//go:embed serverconfigs/deployments/triton.yaml
	TritonDeployment string
)

//go:embed crd/bases/*.yaml
var definitions embed.FS

// CustomResourceDefinitions returns the operator's CustomResourceDefinitions by kind.
func CustomResourceDefinitions() map[string][]byte {
	const folder, kindKey = "crd/bases", "\n    kind: "
	files, err := definitions.ReadDir(folder)
	if err != nil {
		panic(err) // the folder is embedded
	}
	byKind := map[string][]byte{}
	for _, file := range files {
		text, err := definitions.ReadFile(path.Join(folder, file.Name()))
		if err != nil {
			panic(err)
		}
		// In spec.names, whose indentation no other key of this name before the schema has.
		_, after, _ := strings.Cut(string(text), kindKey)
		kind, _, _ := strings.Cut(after, "\n")
		byKind[kind] = text
	}
	return byKind
}
