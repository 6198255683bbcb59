// Package composition is an engine that keeps the children of a custom resource
// as they are wanted. It renders them from Kustomize folders and layers of
// overlays, plans what has to happen, and applies it by server-side apply. It
// knows nothing of the resources that it composes for: an operator brings the
// templates, the layers and a [Policy].
//
// Data flows one way: [Input] → [Render] → [MakePlan] → execute → [Outcome].
//
//   - What goes in: an [Owner], frames of templates with their values, layers
//     that are merged over them from the lowest to the highest, and patches.
//   - Rendering and planning are pure functions; nothing that decides holds a
//     client.
//   - What comes out: for each child what was decided and why, and what is live.
//
// What always holds:
//
//   - A rendering is complete or it is not applied at all.
//
//   - Only fields that a layer means are sent, under one constant field manager;
//     fields, labels and annotations of others survive.
//
//   - Children are applied in waves: namespaces and what limits them, accounts and
//     roles, role bindings, configuration, services, workloads, what refers to
//     these, custom resources. Those of a wave are applied in parallel, up to 8 at
//     a time. A child that the API server rejects stops only those that refer to
//     it; any other error stops the waves after it and all pruning.
//
//   - A child that is not as desired keeps what its live form uses.
//
//   - Fields of others are removed only where the apply is invalid beside them, and
//     a dry-run without them has passed.
//
//   - Only objects that the owner's UID controls are changed or deleted, each
//     write with the UID of what was seen. Volume claims are never deleted.
//
//   - An instance that is as it is wanted sends no request, whatever status its
//     children report, and a restart of the operator writes nothing.
//
//   - A write to an object that has changed hands, or that was deleted while the
//     cache was behind, fails instead of taking it over or bringing it back.
//
// Who owns what: children are applied under [Policy].Manager and no other field
// manager. A field that is no longer rendered goes away, except replicas and seeded
// fields, which are given up first, so that their live values stay. What another
// program made for the same owner is adopted: the fields that it owns by `Update`
// become ours, and its pods keep running; see [RestartRequired].
//
// What is remembered: in memory, of each child, the digest of what was applied
// and of what was then seen, and losing that costs reads. In the cluster is what
// correctness needs: on a child's own metadata the owner's kind (a label), the
// last value of a seeded field and the configuration that a workload was made
// with, as digests; in its managedFields, that it is being adopted; in a
// ControllerRevision, a StatefulSet that is recreated because its claims grow.
//
// What an operator needs besides get, list, watch, create, patch and delete of
// its kinds of children, where StatefulSets with claim templates are among them:
// list and patch of PersistentVolumeClaims, and get, list, create and delete of
// ControllerRevisions.
package composition
