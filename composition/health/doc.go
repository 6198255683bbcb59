// Package health computes the status of a live object by the rules of kstatus
// (github.com/fluxcd/cli-utils), with two differences that matter to an owner: an object
// that its controller has not observed yet is in progress, and the message of a workload
// counts ready replicas.
package health
