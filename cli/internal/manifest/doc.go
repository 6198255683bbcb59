// Package manifest reads the objects in files, directories, URLs, Kustomize folders or the
// standard input, and prints objects.
//
// [Load] returns objects as the API server would store them: the operator's kinds are
// validated by the schemas and rules of their CustomResourceDefinitions, with strict field
// validation, and have their defaults. Errors name file, line and path. A [Reader] reads such
// objects like those of a cluster, or as if they had been applied to one. Nothing in the
// package sends a request, except for files that are URLs.
package manifest
