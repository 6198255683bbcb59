package object

import "sigs.k8s.io/controller-runtime/pkg/client"

// Kind is a kind of child objects.
type Kind struct {
	// Object is an object of the kind's Go type. The client's scheme must have this type and
	// its list type.
	Object client.Object
	// CacheUnfiltered reports whether the cache has every object of the kind. Of other kinds
	// it has only the objects with the owner label.
	CacheUnfiltered bool
}
