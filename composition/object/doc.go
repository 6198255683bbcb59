// Package object has the types that all parts of the engine share: a rendered child
// object, references, owners, kinds and their order of application, and the options
// that are constant for all instances. It depends on no other package of the engine,
// and nothing in it sends a request.
//
// Field paths are slices of names. [SetField] and [RemoveField] copy the maps on the
// path to a field before they change it, so that objects may share the rest.
package object
