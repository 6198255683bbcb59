package importrules

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestEveryPackageFollowsTheRules(t *testing.T) {
	g := NewWithT(t)
	// With -deps, since a pattern skips directories such as testdata, which can be
	// imported.
	command := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports", Module+"/...")
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	g.Expect(err).NotTo(HaveOccurred())

	var violations []string
	checked := 0
	decoder := json.NewDecoder(bytes.NewReader(output))
	for decoder.More() {
		var p struct {
			Package
			XTestImports []string
		}
		g.Expect(decoder.Decode(&p)).To(Succeed())
		p.TestImports = append(p.TestImports, p.XTestImports...)
		if strings.HasPrefix(p.ImportPath, Module+"/") {
			checked++
		}
		violations = append(violations, Violations(p.Package)...)
	}
	g.Expect(violations).To(BeEmpty(), strings.Join(violations, "\n"))
	g.Expect(checked).To(BeNumerically(">", 1), "go list found no package of this repository")
}

func TestViolations(t *testing.T) {
	const api, messages, engine, library = Module + "/api/v1alpha1", Module + "/api/scheduler", Module + "/composition", "github.com/acme/library"
	const framework = Module + "/test/framework/controlplane"
	for _, test := range []struct {
		name     string
		path     string
		imports  []string
		tests    []string
		violated []string
	}{
		{"the engine imports no other package of the module", "composition", []string{"context", "k8s.io/api/core/v1", "sigs.k8s.io/kustomize/api/krusty", api},
			nil, []string{"composition (group composition) must not import " + api}},
		{"neither do its sub-packages", "composition/merge", []string{messages},
			nil, []string{"composition/merge (group composition/merge) must not import " + messages}},
		{"the engine imports only libraries that extend Kubernetes", "composition", []string{library}, nil, []string{"composition (group composition) must not import " + library}},
		{"the engine's tests import no other package of the module", "composition", nil, []string{"github.com/onsi/gomega", framework, api},
			[]string{"a test of composition (group composition) must not import " + api}},
		{"code does not import test/framework", "composition", []string{framework}, nil,
			[]string{"composition (group composition) must not import " + framework}},
		{"leaves of the engine do not import each other", "composition/object", []string{engine + "/internal/managedfields"}, nil,
			[]string{"composition/object (group composition/object) must not import " + engine + "/internal/managedfields"}},
		{"plan imports the packages before it", "composition/plan", []string{engine + "/object", engine + "/internal/managedfields", engine + "/merge", engine + "/health"}, nil, nil},
		{"merge does not import a package after it", "composition/merge", []string{engine + "/object", engine + "/plan"}, nil,
			[]string{"composition/merge (group composition/merge) must not import " + engine + "/plan"}},
		{"what decides does not import what writes", "composition/plan", []string{engine + "/internal/apply"}, nil,
			[]string{"composition/plan (group composition/plan) must not import " + engine + "/internal/apply"}},
		{"no part of the engine imports the facade", "composition/internal/apply", []string{engine, engine + "/plan"}, nil,
			[]string{"composition/internal/apply (group composition/internal/apply) must not import " + engine}},
		{"the facade imports its internal packages", "composition", []string{engine + "/internal/apply", engine + "/plan", engine + "/object"}, nil, nil},
		{"the facade does not import the reconciler", "composition", []string{engine + "/reconciler"}, nil,
			[]string{"composition (group composition) must not import " + engine + "/reconciler"}},
		{"the reconciler imports no internal package of the engine", "composition/reconciler", []string{engine, engine + "/health", engine + "/internal/state"}, nil,
			[]string{"composition/reconciler (group composition/reconciler) must not import " + engine + "/internal/state"}},
		{"CRD types import Kubernetes' API modules only", "api/v1alpha1", []string{"encoding/json", "k8s.io/apimachinery/pkg/runtime", "k8s.io/client-go/rest"},
			nil, []string{"api/v1alpha1 (group api/v1alpha1) must not import k8s.io/client-go/rest"}},
		{"CRD types do not import gRPC messages", "api/v1alpha1", []string{messages}, nil, []string{"api/v1alpha1 (group api/v1alpha1) must not import " + messages}},
		{"gRPC messages do not import CRD types", "api/scheduler/mlops", []string{"google.golang.org/grpc", api}, nil,
			[]string{"api/scheduler/mlops (group api/scheduler) must not import " + api}},
		{"templates import types, engine and libraries", "templates/runtime", []string{api, engine, library}, nil, nil},
		{"templates do not import controllers", "templates/runtime", []string{Module + "/controllers"}, nil,
			[]string{"templates/runtime (group templates) must not import " + Module + "/controllers"}},
		{"inputs import the engine, its sub-packages and templates", "inputs", []string{api, engine, engine + "/object", Module + "/templates"}, nil, nil},
		{"the relay imports types and messages", "relay", []string{api, messages}, nil, nil},
		{"the relay does not import the engine", "relay/internal", []string{engine}, nil,
			[]string{"relay/internal (group relay) must not import " + engine}},
		{"controllers import all libraries", "controllers", []string{api, messages, engine, engine + "/reconciler", Module + "/templates/server", Module + "/inputs", Module + "/relay"}, nil, nil},
		{"controllers do not import a program", "controllers", []string{Module + "/cmd/manager/flags"}, nil,
			[]string{"controllers (group controllers) must not import " + Module + "/cmd/manager/flags"}},
		{"the command line does not import controllers", "cli", []string{Module + "/inputs", Module + "/relay", Module + "/controllers"}, nil,
			[]string{"cli (group cli) must not import " + Module + "/controllers"}},
		{"an example imports the engine and Kubernetes only", "examples/website", []string{engine, engine + "/reconciler", "k8s.io/api/core/v1", api, library}, []string{framework},
			[]string{"examples/website (group examples) must not import " + api, "examples/website (group examples) must not import " + library}},
		{"an example imports no internal package of the engine", "examples/website", []string{engine + "/internal/state"}, nil,
			[]string{"examples/website (group examples) must not import " + engine + "/internal/state"}},
		{"names of groups are compared whole", "templates", []string{Module + "/compositions"}, nil,
			[]string{"templates (group templates) must not import " + Module + "/compositions"}},
		{"the manager imports all libraries", "cmd/manager", []string{api, Module + "/controllers", library}, nil, nil},
		{"the manager does not import test/framework", "cmd/manager", []string{framework}, nil,
			[]string{"cmd/manager (group cmd/manager) must not import " + framework}},
		{"neither does kubectl-seldon", "cmd/kubectl-seldon", []string{Module + "/cli", framework}, nil,
			[]string{"cmd/kubectl-seldon (group cmd/kubectl-seldon) must not import " + framework}},
		{"other programs may start a control plane", "cmd/demo", []string{Module + "/controllers", framework}, nil, nil},
		{"no program imports a test suite", "cmd/demo", []string{Module + "/test/e2e/chaos"}, nil,
			[]string{"cmd/demo (group cmd) must not import " + Module + "/test/e2e/chaos"}},
		{"no suite imports a program", "test/e2e/chaos", []string{Module + "/cmd/manager", Module + "/controllers", framework}, nil,
			[]string{"test/e2e/chaos (group test) must not import " + Module + "/cmd/manager"}},
		{"each package is in a group", "misc/util", nil, nil,
			[]string{"misc/util is in no group: add its directory to the table in test/importrules"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Package{ImportPath: Module + "/" + test.path, Imports: test.imports, TestImports: test.tests}
			NewWithT(t).Expect(Violations(p)).To(Equal(test.violated))
		})
	}
	NewWithT(t).Expect(Violations(Package{ImportPath: library, Imports: []string{api}})).To(BeEmpty(), "packages of other modules have no rules")
}
