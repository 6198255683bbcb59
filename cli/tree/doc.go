// Package tree shows the objects of SeldonRuntimes as a tree: the owner, its child objects,
// their pods, and the Models, Pipelines, Experiments and Servers of users in the namespace,
// with their readiness and the reason of what is not ready.
//
// [Read] lists the objects, with at most one LIST for each kind, all in parallel. A LIST that
// fails is a [Problem] and not an error, unless it is that of the root. [Objects.Tree] builds
// the tree without requests, [Objects.Watch] follows changes, [Fold] replaces what is ready by
// a count, and [Print], [DOT], [Mermaid] and the JSON encoding of [Node] are the formats.
package tree
