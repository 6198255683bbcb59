package composition

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/live"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// CacheSelector returns the selector of child objects: those with the owner label.
func CacheSelector(options object.Options) labels.Selector {
	labelled, err := labels.NewRequirement(options.OwnerLabel(), selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("KeyPrefix %q is no prefix of a label: %v", options.KeyPrefix, err))
	}
	return labels.NewSelector().Add(*labelled)
}

// CacheOptions returns the options of a cache for child objects: of each kind only the
// objects with the owner label, unless the kind is unfiltered, and of all objects only the
// managedFields of the engine. Equal parts of different objects share memory.
//
// Objects of such a cache must not be changed, nor written by Update: the API server
// takes the managedFields of an update as given, and the ownership of all other managers
// would be lost. Apply, patch, or read from the API server first.
func CacheOptions(options object.Options, kinds []object.Kind) cache.Options {
	result := cache.Options{DefaultTransform: cached.Transform(options), ByObject: map[client.Object]cache.ByObject{}}
	for _, kind := range kinds {
		if !kind.CacheUnfiltered {
			result.ByObject[kind.Object] = cache.ByObject{Label: CacheSelector(options)}
		}
	}
	return result
}

// Index adds the index to a cache by which the engine finds the objects of an owner.
func Index(ctx context.Context, indexer client.FieldIndexer, kinds []object.Kind) error {
	for _, kind := range kinds {
		err := indexer.IndexField(ctx, kind.Object, live.OwnerIndex, func(indexed client.Object) []string {
			for _, reference := range indexed.GetOwnerReferences() {
				if reference.Controller != nil && *reference.Controller {
					return []string{string(reference.UID)}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("index objects by owner: %w", err)
		}
	}
	return nil
}
