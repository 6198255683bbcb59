// Package importrules has the rules of which package group of the repository may
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

// Package is the input of the rules.
type Package struct {
	// ImportPath is the package's full import path.
	ImportPath string
	// Imports are the import paths in its non-test files.
	Imports []string
	// TestImports are the import paths in its tests, external tests included.
	TestImports []string
}

// rule states what the packages of one group may import. A group is a directory of
// the repository with everything below it, except for what is in another group of the
// table. Packages of the same group may import each other.
type rule struct {
	group string
	// groups are the directories of the module that it may import, with everything
	// below except for internal directories, which are named themselves.
	groups []string
	// libraries are the prefixes of the import paths outside of the standard library
	// and of the module that it may import. Nil means any.
	libraries []string
}

// anyLibrary, in rule.groups, stands for every group except for tests, programs and
// examples.
const anyLibrary = "*"

// framework is the group of what only tests, demonstrations and tools may import.
const framework = "test/framework"

// engineLibraries are those of the engine: it must be usable by any operator as it
// is, so it imports Kubernetes, Kustomize, and libraries that extend the two.
var engineLibraries = []string{
	"k8s.io/", "sigs.k8s.io/", "github.com/evanphx/json-patch/v5", "github.com/fluxcd/cli-utils/", "github.com/go-logr/logr",
}

// rules is the table of groups. A package is in the first group that matches.
var rules = []rule{
	{group: "api/v1alpha1", libraries: []string{"k8s.io/api/", "k8s.io/apimachinery/", "k8s.io/apiextensions-apiserver/"}},
	{group: "api/scheduler", libraries: []string{"google.golang.org/protobuf/", "google.golang.org/grpc"}},

	// The engine, from its leaves to its facade: a package imports only those above it.
	{group: "composition/internal/jsontest", libraries: engineLibraries},
	{group: "composition/object", groups: engineUntil("composition/object"), libraries: engineLibraries},
	{group: "composition/internal/enginetest", groups: engineUntil("composition/internal/enginetest"), libraries: engineLibraries},
	{group: "composition/internal/managedfields", groups: engineUntil("composition/internal/managedfields"), libraries: engineLibraries},
	{group: "composition/internal/cached", groups: engineUntil("composition/internal/cached"), libraries: engineLibraries},
	{group: "composition/merge", groups: engineUntil("composition/merge"), libraries: engineLibraries},
	{group: "composition/patch", groups: engineUntil("composition/patch"), libraries: engineLibraries},
	{group: "composition/template", groups: engineUntil("composition/template"), libraries: engineLibraries},
	{group: "composition/health", groups: engineUntil("composition/health"), libraries: engineLibraries},
	{group: "composition/plan", groups: engineUntil("composition/plan"), libraries: engineLibraries},
	{group: "composition/internal/cluster", groups: engineUntil("composition/internal/cluster"), libraries: engineLibraries},
	{group: "composition/internal/state", groups: engineUntil("composition/internal/state"), libraries: engineLibraries},
	{group: "composition/internal/statefulset", groups: engineUntil("composition/internal/statefulset"), libraries: engineLibraries},
	{group: "composition/internal/live", groups: engineUntil("composition/internal/live"), libraries: engineLibraries},
	{group: "composition/internal/apply", groups: engineUntil("composition/internal/apply"), libraries: engineLibraries},
	{group: "composition/reconciler", groups: []string{"composition"}, libraries: engineLibraries},
	{group: "composition", groups: append(engineUntil("composition/internal/apply"), "composition/internal/apply"), libraries: engineLibraries},

	{group: "templates", groups: []string{"api/v1alpha1", "composition"}},
	{group: "inputs", groups: []string{"api", "templates", "composition"}},
	{group: "relay", groups: []string{"api"}},
	{group: "controllers", groups: []string{"api", "composition", "templates", "inputs", "relay"}},
	{group: "cli", groups: []string{"api", "composition", "templates", "inputs", "relay", "config"}},

	{group: "cmd/internal/buildinfo", libraries: []string{}},
	{group: "cmd/manager", groups: []string{anyLibrary, "cmd/internal/buildinfo"}},
	{group: "cmd/kubectl-seldon", groups: []string{anyLibrary, "cmd/internal/buildinfo"}},
	{group: "cmd", groups: []string{anyLibrary, framework}},
	{group: "examples", groups: []string{"composition"}, libraries: []string{"k8s.io/", "sigs.k8s.io/"}},
	{group: "config", groups: []string{"api/v1alpha1"}},
	{group: "docs", groups: []string{anyLibrary}},
	{group: "hack", groups: []string{anyLibrary, framework}},
	{group: framework, groups: []string{anyLibrary}},
	{group: "test", groups: []string{anyLibrary, framework}},
}

// engineUntil returns the engine's groups before the given one, in their order.
func engineUntil(group string) []string {
	order := []string{
		"composition/internal/jsontest", "composition/object", "composition/internal/enginetest",
		"composition/internal/managedfields", "composition/internal/cached",
		"composition/merge", "composition/patch", "composition/template", "composition/health", "composition/plan",
		"composition/internal/cluster", "composition/internal/state", "composition/internal/statefulset", "composition/internal/live", "composition/internal/apply",
	}
	return slices.Clone(order[:slices.Index(order, group)])
}

// Violations returns one message for each import of the package that the table does
// not allow, and one if the package is in no group. A test may also import
// test/framework, and any library.
func Violations(p Package) []string {
	path, inModule := strings.CutPrefix(p.ImportPath, Module+"/")
	if !inModule {
		return nil
	}
	r := ruleOf(path)
	if r == nil {
		return []string{fmt.Sprintf("%s is in no group: add its directory to the table in test/importrules", path)}
	}
	var violations []string
	for _, imported := range p.Imports {
		if !r.allows(imported) {
			violations = append(violations, fmt.Sprintf("%s (group %s) must not import %s", path, r.group, imported))
		}
	}
	for _, imported := range p.TestImports {
		target, inModule := strings.CutPrefix(imported, Module+"/")
		if inModule && !within(target, framework) && !r.allows(imported) {
			violations = append(violations, fmt.Sprintf("a test of %s (group %s) must not import %s", path, r.group, imported))
		}
	}
	return violations
}

// ruleOf returns the rule of the group that a path of the module is in, or nil.
func ruleOf(path string) *rule {
	at := slices.IndexFunc(rules, func(r rule) bool { return within(path, r.group) })
	if at < 0 {
		return nil
	}
	return &rules[at]
}

// allows returns whether a package of the group may import the path.
func (r *rule) allows(imported string) bool {
	path, inModule := strings.CutPrefix(imported, Module+"/")
	if !inModule {
		return r.libraries == nil || isStandard(imported) ||
			slices.ContainsFunc(r.libraries, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
	}
	if ruleOf(path) == r {
		return true
	}
	return slices.ContainsFunc(r.groups, func(group string) bool {
		if group == anyLibrary {
			return !within(path, "test") && !within(path, "cmd") && !within(path, "examples")
		}
		return within(path, group) && !hasInternal(strings.TrimPrefix(path, group))
	})
}

// hasInternal returns whether a path has an element internal.
func hasInternal(path string) bool { return slices.Contains(strings.Split(path, "/"), "internal") }

// within returns whether a path is a directory or below it.
func within(path, directory string) bool {
	return path == directory || strings.HasPrefix(path, directory+"/")
}

// isStandard returns whether an import path is one of the standard library, whose
// first elements have no dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
