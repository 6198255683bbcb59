// Package enginetest has fixtures for the tests of the engine's packages.
package enginetest
