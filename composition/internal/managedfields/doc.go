// Package managedfields reads and edits the managedFields of objects: which fields one
// field manager owns by server-side apply, whether these are the fields of an apply
// configuration, and the patches of metadata that release fields or move them from one
// manager to another.
//
// Ownership is read from decoded JSON (FieldsV1, a trie) where a reconcile needs it on
// every run, and by structured-merge-diff where it is edited.
package managedfields
