package inputs

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Resolver computes requests. It is safe for concurrent use for different owners, and
// must not be copied.
type Resolver struct {
	// Reader reads all objects. If it is a cache, it may not contain objects without the
	// engine's owner label. Its lists may share memory with the cache; they are not changed.
	Reader client.Reader
	// APIReader reads objects that Reader may not contain; nil if Reader contains all.
	APIReader client.Reader
	// Namespace contains SeldonConfigs and ServerConfigs.
	Namespace string
	// UseDeployments makes Servers expand into Deployments instead of StatefulSets.
	UseDeployments bool
	// MaxReplicasPerServer is the maximum number of replicas of a Server; 0 means
	// [templates.DefaultMaxReplicas].
	MaxReplicasPerServer int64
	// IsPreexisting reports whether the runtime with that UID may have Services of a
	// previous operator; nil means that each may.
	IsPreexisting func(uid types.UID) bool

	// settled are the Services of runtimes that need no adoption, by serviceOf.
	settled sync.Map
}

// Forget removes the state of a runtime that does not exist any more.
func (r *Resolver) Forget(runtime client.ObjectKey) {
	for _, name := range adoptedServices {
		r.settled.Delete(serviceOf{runtime, name})
	}
}

// uncached returns the reader for objects that Reader may not contain.
func (r *Resolver) uncached() client.Reader {
	if r.APIReader != nil {
		return r.APIReader
	}
	return r.Reader
}
