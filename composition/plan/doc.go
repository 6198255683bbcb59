// Package plan decides what happens to each object of an owner: a [Plan] has one [Step] for
// each rendered object and for each orphan.
//
// What comes in is a [State]: the rendered objects, the live objects, what is remembered of
// them, and what the owner allows. What goes out is the plan. [Compute] is a pure function:
// it holds no client, and what in-memory comparison cannot decide is marked for a dry-run,
// which is made when the plan is settled. The state is complete: whoever can read the
// cluster can compute the plan that the engine carries out.
//
// What always holds:
//
//   - Only objects that the owner controls are written or deleted, or that an owner of the
//     same kind left without a controller; see [MayWrite].
//   - Volume claims are never deleted.
//   - The steps and their messages depend on the state only, not on the order of maps.
//   - Objects of the state are not changed. Those of the plan share parts with them.
package plan
