// Package conformance has the sequences that were observed of the real scheduler, as
// tests that run against any scheduler: that at the address in the environment
// variable SCHEDULER, host:port in plaintext, or the fake one by default.
//
// Scenarios of the first table need only RPCs. Those of the second need the fake's
// controls: agents, delays or faults. Against another scheduler they do not apply,
// which its test logs with what each one needs.
//
// Everything that is loaded has a random prefix and the namespace "conformance", and
// is unloaded at the end. The scheduler may serve others in the meantime.
package conformance
