// Package v1alpha1 holds the seven custom resources of the API group
// mlops.seldon.io: Model, Pipeline, Experiment, Server, ServerConfig,
// SeldonConfig and SeldonRuntime.
//
// The package is the contract with users, with GitOps tools and with objects
// that an earlier operator stored, so these things always hold:
//
//   - Whatever a cluster has stored decodes. One object that cannot be decoded
//     would make every List of its kind fail and stall that kind for everybody.
//     Hence numbers are int64, whatever their range, and the parts that are
//     Kubernetes' own types ([PodSpec], [CorePodSpec], [Container],
//     [PersistentVolumeClaimSpec]) keep the JSON that they came from and report
//     what is wrong with it only when asked.
//   - What a user wrote is told from what was left out. Scalars that layers
//     hand down ([SeldonConfiguration]) are pointers, and pod specs give back
//     the user's own JSON, so that false, 0 and "" can be said on purpose.
//   - Rules stand in the schema: bounds first, CEL where bounds do not reach.
//     Rules on the root of an object look at the stored object too, so that an
//     object stored before a rule existed can still be annotated, have its
//     status written and its finalizers removed.
//
// The package imports Kubernetes' API modules alone and does no I/O.
//
// +kubebuilder:object:generate=true
// +groupName=mlops.seldon.io
package v1alpha1
