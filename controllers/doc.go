// Package controllers holds one thin reconciler per kind: load, make the
// engine's input, let the engine work, write status. Every path out of a
// reconcile, errors included, ends in one status write, and only if it differs.
//
// What is decided elsewhere: how children look in package templates, what
// happens to them in package composition.
package controllers
