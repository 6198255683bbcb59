// Package inputs computes the engine's request for a SeldonRuntime or a Server from what
// is in a cluster: the configuration that it refers to or that is pinned for it, the
// configuration that pods read at start, counts of Models and Pipelines, live replicas,
// and the types of Services that are adopted.
//
// A [Resolver] only reads, by a [client.Reader]: the manager's cache, a plain client, or
// a reader of files. What has to be written for pinned configurations is part of the
// result. The manager and the command line use the same functions, and the engine
// options and kinds of this package.
package inputs
