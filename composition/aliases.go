package composition

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
)

// Types of other packages of the engine that its callers need, so that most of them
// import this package only.
type (
	// Object is a rendered child object; see [object.Object].
	Object = object.Object
	// ObjectRef identifies an object by kind, namespace and name; see [object.Ref].
	ObjectRef = object.Ref
	// Owner is the object that child objects are rendered for; see [object.Owner].
	Owner = object.Owner
	// Kind is a kind that child objects may have; see [object.Kind].
	Kind = object.Kind
	// Options are constant for all instances of an engine; see [object.Options].
	Options = object.Options
	// ObjectError is the error of a request for one object; see [object.Error].
	ObjectError = object.Error
	// Patch changes rendered objects; see [patch.Patch].
	Patch = patch.Patch
	// PatchError says why a patch cannot be applied; see [patch.Error].
	PatchError = patch.Error
)

// RefOf returns the reference to an object.
func RefOf(o *unstructured.Unstructured) ObjectRef { return object.RefOf(o) }
