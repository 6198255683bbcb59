// Package cli runs the commands of kubectl seldon against a control plane with the
// operator, and compares what they say with what the operator does.
package cli
