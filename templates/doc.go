// Package templates holds the Kustomize folders that SeldonRuntimes and Servers
// expand by, and the Go that turns these resources into the engine's input.
//
// A template contains workload skeletons, Services, ServiceAccounts, Roles and
// ConfigMaps. The layers define which components exist and what their pods contain:
// SeldonConfig and SeldonRuntime are merged over the runtime's template, ServerConfig and
// Server over the server's. [Runtime] and [Server] are pure functions from these
// resources to a [composition.Input]; they read no cluster.
package templates
