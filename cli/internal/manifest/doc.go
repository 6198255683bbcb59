// Package manifest reads the objects in files, directories, URLs, Kustomize folders or the
// standard input, and prints objects.
//
// [Load] returns objects as the API server would store them: fields of the operator's kinds
// are checked, as it does with strict field validation, and have the defaults of their
// CustomResourceDefinitions. It checks no other rules of these. A [Reader] reads such
// objects like those of a cluster, or as if they had been applied to one. Nothing in the
// package sends a request, except for files that are URLs.
package manifest
