// Command demo shows the operator at work. It starts a local control plane, the
// operator and a simulated scheduler, applies samples, and draws what expands into
// what, and what the scheduler serves, until all of it is ready. It then changes and
// deletes Models, kills the scheduler and starts it again, and at last waits for
// Ctrl-C. With --non-interactive it ends by itself.
//
// It is run from the root of the repository, as `make demo` does, which builds
// the programs that it starts.
//
// Exit status: 0 when everything was shown and ready at the end, 1 with the reason
// when something did not become ready or broke, 2 when the command line is wrong, 130
// when it was interrupted before everything was shown. At the end nothing that it
// started runs any more, and what it wrote is removed; with status 1 the logs are kept.
//
// A demonstration is a list of stages (stages.go, relayed.go), run one after the other
// (demo.go) in front of a screen: a terminal whose picture is redrawn in place
// (terminal.go), or a log to which changes are appended (plain.go). The picture
// is a tree (tree.go) of objects, each in a state (judge.go): a pure function of the
// objects that are watched (watch.go).
package main
