package reconciler

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

// CacheOptions returns what the manager's cache needs for child objects of kinds: it
// holds only those that the engine labels, except for kinds with CacheUnfiltered, only
// the managedFields of the engine, and one copy of equal parts. The same applies to
// ControllerRevisions, which hold the engine's backups of StatefulSets.
func CacheOptions(options composition.Options, kinds []composition.Kind) cache.Options {
	labelled, err := labels.NewRequirement(options.OwnerLabel(), selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("the key of the owner label: %v", err))
	}
	owned := cache.ByObject{Label: labels.NewSelector().Add(*labelled)}
	result := cache.Options{
		DefaultTransform: composition.CacheTransform(options),
		ByObject:         map[client.Object]cache.ByObject{&appsv1.ControllerRevision{}: owned},
	}
	for _, kind := range kinds {
		if !kind.CacheUnfiltered {
			result.ByObject[kind.Object] = owned
		}
	}
	return result
}
