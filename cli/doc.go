// Package cli has the commands of kubectl seldon. They use the packages of the operator
// (inputs, templates, composition), so that what a command shows is what the operator
// does.
//
// [New] returns the root command, and [Run] executes it and returns the exit code, which
// depends neither on the output format nor on colours:
//
//	0    done; plan: whether or not something would change
//	1    failed: the cluster or the scheduler is not reachable, the root object is not readable,
//	     or an object failed;
//	     diff: something would change
//	2    invalid usage or input; diff: any error
//	3    plan --exit-code: something would change
//	4    plan --fail-on: a change has that impact or a higher one
//	124  the timeout of a command that waits has passed
//
// Results are written to the standard output, and everything else to the standard error.
package cli
