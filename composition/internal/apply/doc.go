// Package apply carries out plans: [Applier.Adopt] migrates the ownership of objects that
// another program created, [Applier.Settle] makes the dry-runs that a plan needs,
// [Applier.Apply] applies its steps in waves and prunes orphans, and [Applier.DeleteAll]
// deletes what an owner controls.
//
// What always holds:
//
//   - Every write has a precondition: the UID of the object that was seen, or that there is
//     none. A stale plan fails with a conflict.
//   - An object that the API server rejects stops only the objects that refer to it; any
//     other error stops the waves after it and all pruning.
//   - Orphans are pruned after all steps, and those that an object which is not as desired
//     still uses are retained.
//   - Fields of other managers are removed only where the apply is invalid beside them, and
//     only after a dry-run without them has passed.
package apply
