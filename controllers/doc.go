// Package controllers has a reconciler per kind. SeldonRuntimes and Servers are expanded
// into child objects by an engine; Models, Pipelines and Experiments are passed to the
// scheduler of their namespace by the relay.
//
// A reconciler consists of three steps for package [reconciler]: ReconcileNormal,
// ReconcileDelete and ReconcileNotFound. That package provides the rest: the stale-cache
// guard, one write of status, Events, retries. Package inputs computes the engine's
// request, templates defines the child objects, composition applies them.
package controllers
