// Package cluster sends requests for single objects, with the preconditions that the engine
// relies on, and returns objects in the form of the cache.
package cluster
