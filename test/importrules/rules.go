// Package importrules holds the rules of which room of the repository may
// import which, as data and as a pure function. Its test applies them to every
// package.
package importrules

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the operator's module.
const Module = "github.com/seldon-operator/seldon-operator"

// Package is what the rules look at.
type Package struct {
	// ImportPath is the package's full import path.
	ImportPath string
	// Imports are the import paths that its non-test files name.
	Imports []string
	// TestImports are those that its tests name, external tests included.
	TestImports []string
}

// rule says what the packages of one room may import. A room is a directory of
// the repository and all below it. Packages of the same room are always allowed.
type rule struct {
	room string
	// rooms are the other rooms of ours that it may import.
	rooms []string
	// libraries are prefixes of the import paths, outside of the standard library
	// and of ours, that it may import. Nil means any.
	libraries []string
}

// anyRoom, in rule.rooms, is every room but those of tests.
const anyRoom = "*"

// testRoom is the room of what only tests, demonstrations and tools may import.
const testRoom = "test"

// rules is the table of rooms. The first rule whose room a package is in counts.
var rules = []rule{
	{room: "api/v1alpha1", libraries: []string{"k8s.io/api/", "k8s.io/apimachinery/", "k8s.io/apiextensions-apiserver/"}},
	{room: "api/scheduler", libraries: []string{"google.golang.org/protobuf/", "google.golang.org/grpc"}},
	// The engine must serve any operator as it stands: it knows Kubernetes and
	// Kustomize, and the two libraries that extend them.
	{room: "composition", libraries: []string{
		"k8s.io/", "sigs.k8s.io/", "github.com/evanphx/json-patch/v5", "github.com/fluxcd/cli-utils/", "github.com/go-logr/logr",
	}},
	{room: "templates", rooms: []string{"api/v1alpha1", "composition"}},
	{room: "inputs", rooms: []string{"api/v1alpha1", "composition", "templates"}, libraries: []string{"k8s.io/", "sigs.k8s.io/"}},
	{room: "relay", rooms: []string{"api/v1alpha1", "api/scheduler"}},
	{room: "controllers", rooms: []string{"api/v1alpha1", "api/scheduler", "composition", "templates", "inputs", "relay"}},
	{room: "cmd/manager", rooms: []string{anyRoom}},
	{room: "cmd", rooms: []string{anyRoom, testRoom}},
	{room: "config", rooms: []string{"api/v1alpha1"}},
	// Tests that hold the pages to the code.
	{room: "docs", rooms: []string{anyRoom}},
	{room: "hack", rooms: []string{anyRoom, testRoom}},
	{room: testRoom, rooms: []string{anyRoom}},
}

// Violations returns one message for each import of the package that the table
// of rooms does not allow, and one if the package is in no room at all.
func Violations(p Package) []string {
	path, ours := strings.CutPrefix(p.ImportPath, Module+"/")
	if !ours {
		return nil
	}
	at := slices.IndexFunc(rules, func(r rule) bool { return within(path, r.room) })
	if at < 0 {
		return []string{fmt.Sprintf("%s is in no room: add its directory to the table in test/importrules", path)}
	}
	r := rules[at]
	var found []string
	for _, imported := range p.Imports {
		if !r.allows(imported) {
			found = append(found, fmt.Sprintf("%s (room %s) must not import %s", path, r.room, imported))
		}
	}
	for _, imported := range p.TestImports {
		// A test may also use the test rooms, and any library to test with.
		target, ours := strings.CutPrefix(imported, Module+"/")
		if ours && !within(target, testRoom) && !r.allows(imported) {
			found = append(found, fmt.Sprintf("a test of %s (room %s) must not import %s", path, r.room, imported))
		}
	}
	return found
}

// allows tells whether a package of the room may import the path.
func (r rule) allows(imported string) bool {
	path, ours := strings.CutPrefix(imported, Module+"/")
	if !ours {
		return r.libraries == nil || isStandard(imported) ||
			slices.ContainsFunc(r.libraries, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
	}
	if within(path, r.room) {
		return true
	}
	return slices.ContainsFunc(r.rooms, func(room string) bool {
		if room == anyRoom {
			// A program is nobody's library.
			return !within(path, testRoom) && !within(path, "cmd")
		}
		return within(path, room)
	})
}

// within tells whether a path is a room's directory or below it.
func within(path, room string) bool {
	return path == room || strings.HasPrefix(path, room+"/")
}

// isStandard tells whether an import path is one of the standard library, whose
// first elements have no dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
