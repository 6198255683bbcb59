package object

import "sigs.k8s.io/controller-runtime/pkg/client"

// Kind is a kind that instances may have children of.
type Kind struct {
	// Object and List are of the kind's Go types.
	Object client.Object
	List   client.ObjectList
	// Unfiltered: the cache holds every object of the kind. Of others it holds
	// those with the owner label.
	CacheUnfiltered bool
}
