package reconciler

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

// CacheOptions returns what the manager's cache needs for child objects of kinds: it
// holds only those that the engine labels, except for kinds with CacheUnfiltered, and
// only the managedFields of the engine.
func CacheOptions(options composition.Options, kinds []composition.Kind) cache.Options {
	result := cache.Options{DefaultTransform: composition.CacheTransform(options), ByObject: map[client.Object]cache.ByObject{}}
	for _, kind := range kinds {
		if !kind.CacheUnfiltered {
			result.ByObject[kind.Object] = cache.ByObject{Label: OwnedSelector(options)}
		}
	}
	return result
}

// OwnedSelector selects the objects that the engine labels.
func OwnedSelector(options composition.Options) labels.Selector {
	labelled, err := labels.NewRequirement(options.OwnerLabel(), selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("the key of the owner label: %v", err))
	}
	return labels.NewSelector().Add(*labelled)
}
