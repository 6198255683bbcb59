// Package composition is an engine that expands a custom resource, the owner, into child
// objects, and keeps these as desired. It renders them from Kustomize folders and layers of
// overlays, plans what to do with each, and applies the plan by server-side apply. It
// contains nothing of a particular operator: an operator brings templates, layers and
// [Options].
//
// Data flows one way, in four steps that can be called one by one:
//
//		Input ─ render ─▶ objects ─ compute ─▶ plan ─ settle ─▶ plan ─ apply ─▶ Result
//
//	  - [Render] is a pure function from templates, layers and patches to objects.
//	  - Compute, a pure function too, compares the objects with the live ones; see
//	    [github.com/seldon-operator/seldon-operator/composition/plan].
//	  - Settling makes the dry-runs that the plan needs, and writes nothing: [Engine.Plan]
//	    ends here.
//	  - Applying carries out the plan: [Engine.Reconcile] does all four.
//
// What always holds:
//
//   - What cannot be rendered completely is not applied at all.
//   - Only fields that a layer sets are sent, under one constant field manager. Fields,
//     labels and annotations of other managers survive; they are removed only where the
//     apply is invalid beside them, and a dry-run without them has passed.
//   - Objects are applied in waves: namespaces and limits, accounts and roles, role
//     bindings, configuration, Services, workloads, what refers to these, custom resources.
//     The objects of a wave are applied in parallel, up to 8 at a time. An object that the
//     API server rejects stops only the objects that refer to it; any other error stops the
//     waves after it and all pruning.
//   - An object that is not as desired keeps what its live form uses.
//   - Only objects that the owner's UID controls are changed or deleted, and every write has
//     the UID of the object that was seen as precondition. Volume claims are never deleted.
//   - An owner whose objects are as desired causes no request, whatever status they report,
//     and a restart of the operator writes nothing.
//   - No object that callers receive shares memory with a cache.
//
// Ownership: objects are applied under [Options].FieldManager and no other field manager. A
// field that is no longer rendered is removed, except replicas and initial-only fields,
// which are released first, so that their live values stay. Objects that another program
// created for the same owner, or from rendered manifests (see [Options].ManifestManagers), are
// adopted: the fields that it owns become the engine's, and pods keep running; see
// plan.RestartRequired.
//
// What is remembered: in memory, hashes of what was applied to each object and of what was
// then live; to lose them costs reads. In the cluster, what correctness needs: on an object
// its owner's kind (a label), the hash of an initial-only value and the hash of the
// configuration that a workload was created with; in its managedFields, that it is being
// adopted; in a ControllerRevision, a StatefulSet that is being recreated.
//
// What an operator needs besides get, list, watch, create, patch and delete of the kinds of
// its objects, if StatefulSets with claim templates are among them: list and patch of
// PersistentVolumeClaims, and get, list, create and delete of ControllerRevisions.
package composition
