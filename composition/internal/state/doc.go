// Package state holds what the engine remembers of each owner's objects between reconciles:
// what was applied and what was then live, writes that the cache may not show yet, and when
// corrections that another manager reverts are next due. It is a cache of the cluster's
// state: to lose it costs requests, never correctness.
package state
