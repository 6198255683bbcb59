// Package config has the configurations of this folder that programs contain: the
// SeldonConfig and the ServerConfigs that a default installation has, as YAML.
package config

import _ "embed"

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
