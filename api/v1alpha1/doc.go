// Package v1alpha1 holds the seven custom resources of the API group
// mlops.seldon.io: Model, Pipeline, Experiment, Server, ServerConfig,
// SeldonConfig and SeldonRuntime.
//
// The package is the contract with users, with GitOps tools and with objects
// that the upstream operator stored. Its guarantees are:
//
//   - Every stored object can be decoded. One object that cannot be decoded would
//     make every List of its kind fail, and so stop the operator for all objects of
//     that kind. All numbers are therefore int64, and the types
//     that embed types of Kubernetes ([PodSpec], [CorePodSpec], [Container],
//     [PersistentVolumeClaimSpec]) keep the JSON that they were decoded from and
//     return decoding errors only from Raw.
//   - Values that a user set are distinguished from unset values. Inherited scalars
//     ([SeldonConfiguration]) are pointers, and pod specs return the user's JSON, so
//     that false, 0 and "" can be set explicitly.
//   - Validation is part of the schema: bounds where possible, CEL rules otherwise.
//     Rules on the root of an object also evaluate the stored object, so that
//     annotations, status and finalizers of an object that was stored before a rule
//     existed can still be written.
//
// The package only imports API modules of Kubernetes and does no I/O.
//
// +kubebuilder:object:generate=true
// +groupName=mlops.seldon.io
package v1alpha1
