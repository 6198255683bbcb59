package composition

import (
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/apply"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// Types of other packages of the engine that its callers need, so that most of them
// import this package only.
type (
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
	// Templates are compiled Kustomize folders; see [template.Set].
	Templates = template.Set
	// TemplateRef is one use of a template; see [template.Ref].
	TemplateRef = template.Ref
	// Layer is the content of one source; see [template.Layer].
	Layer = template.Layer
	// Overlay is a partial object of a layer; see [template.Overlay].
	Overlay = template.Overlay
	// Plan has a step for each object; see [plan.Plan].
	Plan = plan.Plan
	// Step is the plan for one object; see [plan.Step].
	Step = plan.Step
	// ConfigHashes are the configurations that pods read at start; see [plan.ConfigHashes].
	ConfigHashes = plan.ConfigHashes
	// ConfigRef names a ConfigMap or Secret; see [plan.ConfigRef].
	ConfigRef = plan.ConfigRef
	// ConfigHash has the hashes of a ConfigMap or Secret; see [plan.ConfigHash].
	ConfigHash = plan.ConfigHash
	// DryRuns are shared by the plans of several owners; see [Engine.Plan].
	DryRuns = apply.DryRuns
	// Patch changes rendered objects; see [patch.Patch].
	Patch = patch.Patch
	// PatchError says why a patch cannot be applied; see [patch.Error].
	PatchError = patch.Error
)

// RefOf returns the reference to an object.
func RefOf(o *unstructured.Unstructured) ObjectRef { return object.RefOf(o) }

// LoadTemplates reads the Kustomize folders of fsys, usually an embed.FS; see
// [template.Load].
func LoadTemplates(fsys fs.FS, annotationPrefix string) (*Templates, error) {
	return template.Load(fsys, annotationPrefix)
}

// NewDryRuns returns an empty set of dry-runs.
func NewDryRuns() *DryRuns { return apply.NewDryRuns() }

// HashConfig returns the hashes of a ConfigMap or Secret that an owner has as an external
// configuration; see [Request].
func HashConfig(options Options, configuration client.Object) (ConfigHash, error) {
	return plan.HashConfig(options, configuration)
}
