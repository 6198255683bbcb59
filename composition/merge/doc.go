// Package merge merges a partial object over an object of the same kind, by the rules
// of Kubernetes' strategic merge patch and a few more, without which the result can be
// an object that the API server rejects; [StrategicMerge] lists them.
//
// Arguments are decoded JSON: maps, slices, strings, bools, int64 and float64. Results
// share nothing with them. An invalid override is one error with the paths of all invalid
// fields; the base is not validated. Kinds of client-go's scheme merge by the struct tags
// of their Go types, all others as JSON merge patches.
//
// All functions are safe for concurrent use. Schemas of kinds are compiled when they are
// first needed and cached for the lifetime of the process.
package merge
