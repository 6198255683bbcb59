// Package templates holds the Kustomize folders that SeldonRuntimes and Servers
// expand by, and the Go that turns these resources into the engine's input.
//
// A template gives the frame: workload skeletons, Services, accounts,
// ConfigMaps. Which components there are, and what is in their pods, comes from
// the layers: SeldonConfig and SeldonRuntime over the runtime's template,
// ServerConfig and Server over the server's. [Runtime] and [Server] are pure
// functions from these resources to a [composition.Input]; they read no cluster.
package templates
