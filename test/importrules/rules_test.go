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

func TestEveryPackageKeepsToItsRoom(t *testing.T) {
	g := NewWithT(t)
	// With -deps, since a pattern passes by directories such as testdata and the
	// compiler does not.
	command := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports", Module+"/...")
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	g.Expect(err).NotTo(HaveOccurred())

	var violations []string
	looked := 0
	decoder := json.NewDecoder(bytes.NewReader(output))
	for decoder.More() {
		var p struct {
			Package
			XTestImports []string
		}
		g.Expect(decoder.Decode(&p)).To(Succeed())
		p.TestImports = append(p.TestImports, p.XTestImports...)
		if strings.HasPrefix(p.ImportPath, Module+"/") {
			looked++
		}
		violations = append(violations, Violations(p.Package)...)
	}
	g.Expect(violations).To(BeEmpty(), strings.Join(violations, "\n"))
	g.Expect(looked).To(BeNumerically(">", 1), "the walk found this repository's packages")
}

func TestViolations(t *testing.T) {
	const api, wire, engine, library = Module + "/api/v1alpha1", Module + "/api/scheduler", Module + "/composition", "github.com/acme/library"
	for _, test := range []struct {
		name     string
		of       string
		imports  []string
		tests    []string
		violated []string
	}{
		{"the engine knows none of us", "composition", []string{"context", "k8s.io/api/core/v1", "sigs.k8s.io/kustomize/api/krusty", api},
			nil, []string{"composition (room composition) must not import " + api}},
		{"nor does any part of it", "composition/internal/merge", []string{engine, wire},
			nil, []string{"composition/internal/merge (room composition) must not import " + wire}},
		{"nor other libraries", "composition", []string{library}, nil, []string{"composition (room composition) must not import " + library}},
		{"nor do its tests", "composition", nil, []string{"github.com/onsi/gomega", Module + "/test/framework/controlplane", api},
			[]string{"a test of composition (room composition) must not import " + api}},
		{"code does not lean on tests", "composition", []string{Module + "/test/framework/controlplane"}, nil,
			[]string{"composition (room composition) must not import " + Module + "/test/framework/controlplane"}},
		{"types know Kubernetes' API alone", "api/v1alpha1", []string{"encoding/json", "k8s.io/apimachinery/pkg/runtime", "k8s.io/client-go/rest"},
			nil, []string{"api/v1alpha1 (room api/v1alpha1) must not import k8s.io/client-go/rest"}},
		{"types do not know the wire", "api/v1alpha1", []string{wire}, nil, []string{"api/v1alpha1 (room api/v1alpha1) must not import " + wire}},
		{"the wire does not know types", "api/scheduler/mlops", []string{"google.golang.org/grpc", api}, nil,
			[]string{"api/scheduler/mlops (room api/scheduler) must not import " + api}},
		{"templates use types and engine", "templates/runtime", []string{api, engine, library}, nil, nil},
		{"templates have no controllers", "templates/runtime", []string{Module + "/controllers"}, nil,
			[]string{"templates/runtime (room templates) must not import " + Module + "/controllers"}},
		{"the relay uses types", "relay", []string{api, wire}, nil, nil},
		{"the relay composes nothing", "relay/internal", []string{engine}, nil,
			[]string{"relay/internal (room relay) must not import " + engine}},
		{"controllers use all rooms", "controllers", []string{api, wire, engine, Module + "/templates/server", Module + "/relay"}, nil, nil},
		{"controllers are no program", "controllers", []string{Module + "/cmd/manager/flags"}, nil,
			[]string{"controllers (room controllers) must not import " + Module + "/cmd/manager/flags"}},
		{"names are compared whole", "templates", []string{Module + "/compositions"}, nil,
			[]string{"templates (room templates) must not import " + Module + "/compositions"}},
		{"the manager wires everything", "cmd/manager", []string{api, Module + "/controllers", library}, nil, nil},
		{"the manager ships no tests", "cmd/manager", []string{Module + "/test/framework/controlplane"}, nil,
			[]string{"cmd/manager (room cmd/manager) must not import " + Module + "/test/framework/controlplane"}},
		{"other programs may start a control plane", "cmd/demo", []string{Module + "/controllers", Module + "/test/framework/controlplane"}, nil, nil},
		{"programs are nobody's library", "test/e2e", []string{Module + "/cmd/manager", Module + "/controllers"}, nil,
			[]string{"test/e2e (room test) must not import " + Module + "/cmd/manager"}},
		{"each package has a room", "misc/util", nil, nil,
			[]string{"misc/util is in no room: add its directory to the table in test/importrules"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Package{ImportPath: Module + "/" + test.of, Imports: test.imports, TestImports: test.tests}
			NewWithT(t).Expect(Violations(p)).To(Equal(test.violated))
		})
	}
	NewWithT(t).Expect(Violations(Package{ImportPath: library, Imports: []string{api}})).To(BeEmpty(), "others' packages are not ours to judge")
}
