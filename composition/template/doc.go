// Package template turns Kustomize folders into objects. Kustomize runs once for each
// variant of a folder, on placeholders; the result is compiled, and instantiated for names,
// namespaces and other parameters in memory, so that a value is never pasted into YAML text.
// Layers of overlays are merged over the instances.
//
// What comes in are references to folders with parameters ([Ref]) and layers; what goes out
// are [object.Object]s. Objects share parts with templates and with other instances: they
// must be copied before they are changed. A [Set] is safe for concurrent use.
//
// Each folder also builds with the stock `kustomize build`.
package template
