package v1alpha1

// Patch changes fields of rendered children that have no other setting in the API. Patches
// are applied in their order, after all layers are merged.
type Patch struct {
	// Target selects the objects to patch. Without a target, a strategic merge patch is
	// applied to the object with the kind and name of the patch.
	// +optional
	Target *PatchTarget `json:"target,omitempty"`

	// Patch is the text of a strategic merge patch or of a JSON6902 patch, in YAML or JSON.
	// The type is detected as in Kustomize: a list is a JSON6902 patch. The text is not
	// pruned by a schema, so that `null` and `$patch: delete` remove fields.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Patch string `json:"patch"`
}

// PatchTarget selects objects like the selector of Kustomize. An object must match all
// fields that are set. Group, version, kind and name are regular expressions, anchored at
// both ends.
type PatchTarget struct {
	// Group of the object, such as apps. The core group is the empty string.
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
	// LabelSelector in the syntax of `kubectl --selector`.
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
	// AnnotationSelector selects by annotations, in the syntax of `kubectl --selector`.
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}
