// Package enginetest has objects for the tests of the engine's packages.
package enginetest
