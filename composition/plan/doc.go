// Package plan decides what happens to each object of an owner: a [Plan] has one [Step] for
// each rendered object and for each orphan.
//
// [Compute] returns the plan for a [State]: the rendered objects, the live objects, what is
// remembered of them, and what the owner allows. It is a pure function without a client:
// steps that a comparison in memory cannot decide are marked for a dry-run, which is made
// when the plan is settled. The state is complete, so that any program that can read the
// cluster computes the same plan as the engine.
//
// What always holds:
//
//   - Only objects that the owner controls are written or deleted. Written are also objects
//     without a controller that an owner of the same kind left, or that are from a rendered
//     manifest; see [MayWrite].
//   - Volume claims are never deleted.
//   - The steps and their messages depend on the state only, not on the order of maps.
//   - Objects of the state are not changed. Those of the plan share parts with them.
package plan
