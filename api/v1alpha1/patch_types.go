package v1alpha1

// Patch changes fields of rendered children that nothing else in the API
// reaches. Patches apply in their order, after all layers are merged.
type Patch struct {
	// Target selects the objects to patch. Without one, a strategic merge patch
	// goes to the object whose kind and name it carries.
	// +optional
	Target *PatchTarget `json:"target,omitempty"`

	// Patch is the text of a strategic merge patch, or of a JSON6902 patch, in
	// YAML or JSON; which of the two is told by its form, as Kustomize does. No
	// schema prunes the text, so `null` and `$patch: delete` remove.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Patch string `json:"patch"`
}

// PatchTarget selects objects as Kustomize's selector of the same form does.
// Fields are joined by AND and left out to match everything. Group, version,
// kind and name are regular expressions, anchored at both ends.
type PatchTarget struct {
	// Group of the object, such as apps; the core group is the empty one.
	// +optional
	Group string `json:"group,omitempty"`
	// Version of the object, such as v1.
	// +optional
	Version string `json:"version,omitempty"`
	// Kind of the object, such as Deployment.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`
	// LabelSelector in the form of `kubectl --selector`.
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
	// AnnotationSelector in the form of `kubectl --selector`, over annotations.
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}
