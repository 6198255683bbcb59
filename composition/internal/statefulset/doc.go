// Package statefulset expands the volume claims of StatefulSets. Claim templates are
// immutable, so a StatefulSet is backed up, deleted without its pods, and recreated; a
// backup in the cluster lets an interrupted recreation continue.
package statefulset
