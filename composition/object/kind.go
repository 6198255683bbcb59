package object

import "sigs.k8s.io/controller-runtime/pkg/client"

// Kind is a kind that child objects may have.
type Kind struct {
	// Object is an object of the kind's Go type, which the client's scheme has, as well as
	// its list type.
	Object client.Object
	// CacheUnfiltered: the cache has every object of the kind. Of other kinds it has those
	// with the owner label.
	CacheUnfiltered bool
}
