// Package foldersync keeps a scheduler in sync with the Models, Pipelines, Experiments,
// Servers and SeldonRuntimes in files, without Kubernetes. It is a source of package relay,
// whose rules apply: the files take the place of the API server.
//
// [Read] reads files. A [Store] holds what was read last, gives each object an identity and
// a generation, and is what the relay reads. [Run] runs a session of the relay on it.
//
// Invariants:
//
//   - Without Options.Prune, nothing is unloaded, and no Server is set to 0 replicas.
//   - Nothing is unloaded after a read in which something was invalid or unreadable, or that
//     had no objects. What an invalid file defined before stays as it was.
//   - An object whose definition the scheduler has, by its listing, is not loaded again. The
//     scheduler does not list the definitions of Experiments, which a new process therefore
//     starts again.
package foldersync
