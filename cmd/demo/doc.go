// Command demo shows a SeldonRuntime expanding. It starts a local control plane
// and the operator, applies a sample, draws what expands into what until all of
// it is ready, and then waits for Ctrl-C. With --once it ends by itself.
//
// It is run from the root of the repository, as `make demo` does, which builds
// the programs that it starts.
//
// Exit status: 0 when the runtime became ready, 1 with the reason when it did
// not or when something broke, 2 when the command line is wrong, 130 when it was
// interrupted before the runtime was ready. At the end nothing that it started
// runs any more, and what it wrote is removed; with status 1 the logs are kept.
//
// A demonstration is a list of stages (stages.go), run one after the other
// (demo.go) in front of a screen: a terminal whose picture is redrawn in place
// (terminal.go), or a log to which changes are appended (plain.go). The picture
// is a tree (tree.go) of objects, each in a state (judge.go): a pure function of the
// objects that are watched (watch.go).
package main
