// Package cached has the form that live objects have in the informer cache: the
// transform for the cache, the conversions between that form and unstructured content,
// and the hash by which a change of a live object is detected.
//
// Objects in this form share parts with each other, so they must never be changed.
package cached
