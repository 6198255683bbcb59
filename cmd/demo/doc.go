// Command demo demonstrates the operator. It starts a local control plane, the operator
// and a simulated scheduler, applies samples, and draws the tree of their objects and of
// the loaded Models, Pipelines and Experiments until all are ready. It then changes and
// deletes Models, kills and restarts the scheduler, and finally waits for Ctrl-C. With
// --non-interactive it exits instead.
//
// It must run in the root of the repository. `make demo` does that, and builds the
// programs that it starts.
//
// Exit status: 0 if all steps were done and everything is ready, 1 with the reason if
// something did not become ready or failed, 2 if the command line is invalid, 130 if it
// was interrupted earlier. It stops everything that it started and removes its files;
// with status 1 it keeps the logs.
//
// A demonstration is a list of steps (steps.go, resources.go) that run one after the
// other (demo.go). A renderer shows their progress: a terminal that is redrawn
// (tty_renderer.go), or a log of changes (log_renderer.go). It draws a tree (tree.go) of
// objects with their health (health.go), a pure function of the watched objects
// (watch.go).
package main
