package composition

import (
	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// asCached brings an object that the API server gave back into the form that it
// has in the cache, so that the two compare equal.
func (e *Engine) asCached(object *unstructured.Unstructured) (client.Object, error) {
	typed, err := cached.ToTyped(object, e.Client.Scheme())
	if runtime.IsNotRegisteredError(err) {
		managedfields.Trim(object, e.Options.FieldManager)
		return object, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = cached.Transform(e.Options)(typed)
	return typed, err
}
