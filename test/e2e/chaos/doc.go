// Package chaos tests that the operator and a scheduler agree again after faults:
// the operator is killed or paused, the scheduler is killed or loses its volume,
// calls and streams fail, and the network between them fails, while Models,
// Pipelines and Experiments are created, changed and deleted.
//
// Operator and control plane are processes, as in a cluster. The scheduler is the
// fake one, behind a proxy. What happens is drawn from a seed:
//
//	make chaos ROUNDS=500          a new seed, which is printed
//	make chaos ROUNDS=20 SEED=7    the first 20 rounds of seed 7, as drawn before
package chaos
