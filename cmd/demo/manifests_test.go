package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestReadManifests(t *testing.T) {
	g := NewWithT(t)
	folder := t.TempDir()
	write := func(name, content string) {
		g.Expect(os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600)).To(Succeed())
	}
	write("a.yaml", "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\n\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
	write("b.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: three}\n")

	objects, err := readManifests(filepath.Join(folder, "a.yaml"), filepath.Join(folder, "b*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(refs(objects...)).To(Equal("ConfigMap one, ConfigMap two, Secret three"))

	_, err = readManifests("config/none/*.yaml")
	g.Expect(err).To(MatchError(And(HavePrefix("read config/none/*.yaml: "), ContainSubstring("root of the repository"))))
	write("c.yaml", "a: b: c")
	_, err = readManifests(filepath.Join(folder, "c.yaml"))
	g.Expect(err).To(MatchError(ContainSubstring("c.yaml")))
}

func TestBuildManifestsPutsNamespacesFirst(t *testing.T) {
	g := NewWithT(t)
	objects, err := buildManifests(filepath.Join("..", "..", deployment))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(refs(objects...)).To(HavePrefix("Namespace " + operatorNamespace + ", "))
	_, err = buildManifests("none")
	g.Expect(err).To(MatchError(HavePrefix("build none: ")))
}

func TestFindRuntime(t *testing.T) {
	const ours = "mlops.seldon.io/v1alpha1"
	g := NewWithT(t)
	server, one, two := child(t, ours, "Server", "s", ""), child(t, ours, "SeldonRuntime", "one", ""), child(t, ours, "SeldonRuntime", "two", "")
	g.Expect(findRuntime([]*unstructured.Unstructured{server, one})).To(BeIdenticalTo(one))
	_, err := findRuntime([]*unstructured.Unstructured{server})
	g.Expect(err).To(MatchError(ContainSubstring("the file has 0 SeldonRuntimes")))
	_, err = findRuntime([]*unstructured.Unstructured{one, two})
	g.Expect(err).To(MatchError(ContainSubstring("the file has 2 SeldonRuntimes")))
}

func TestParse(t *testing.T) {
	g := NewWithT(t)
	usage := &bytes.Buffer{}
	g.Expect(parse(nil, usage)).To(Equal(options{
		timeout: 3 * time.Minute, runtimeFile: "config/samples/mlops_v1alpha1_seldonruntime.yaml",
		managerBinary: "bin/manager", schedulerBinary: "bin/fakescheduler",
	}))
	g.Expect(parse([]string{"--non-interactive", "--timeout=1s", "--runtime-file=r", "--manager-binary=m", "--scheduler-binary=s"}, usage)).To(Equal(options{
		nonInteractive: true, timeout: time.Second, runtimeFile: "r", managerBinary: "m", schedulerBinary: "s",
	}))
	g.Expect(usage.String()).To(BeEmpty())

	_, err := parse([]string{"status"}, usage)
	g.Expect(err).To(MatchError(`unknown argument "status"`))
	g.Expect(usage.String()).To(Equal("demo: unknown argument \"status\"\n"))
	_, err = parse([]string{"--help"}, usage)
	g.Expect(errors.Is(err, flag.ErrHelp)).To(BeTrue())
	g.Expect(usage.String()).To(ContainSubstring("-non-interactive"))
}
