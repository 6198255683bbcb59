// Package live finds the live objects of an owner: in the cache, among recent writes that
// the cache does not show yet, and, where the cache cannot show them, in the API server. The
// objects share parts with the cache and must not be changed.
package live
