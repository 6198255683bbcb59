// Package installation installs the operator and a data plane with Helm on a local
// control plane, for Ginkgo suites about upgrades, migrations and uninstalls. The
// operator runs as it is installed: in a pod of its Deployment and in the hooks of
// its chart. The scheduler is simulated, one per namespace.
//
// Functions and methods fail the running spec on an error.
package installation

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
	"github.com/seldon-operator/seldon-operator/test/framework/nodeagent"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// Environment is a control plane with a node that runs the operator. Its fields and
// methods may be used after Start.
type Environment struct {
	// Client acts as an administrator.
	Client client.Client
	// Manager is the path of the operator's binary.
	Manager string
	// TempDir is a directory for files of the suite. Helm's own files are there too.
	TempDir string
	// APIServerFlags are additional flags of the API server, set before Start.
	APIServerFlags []string

	ctx     context.Context
	cluster *controlplane.ControlPlane
	node    *nodeagent.Agent
	// discovery and metadata list everything in a namespace, whatever its kind.
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
	// sockets is the directory with the socket of each namespace's scheduler.
	sockets string
}

// Start starts the environment, in a BeforeSuite. It stops when the suite ends. The
// function installs CRDs before the garbage collector starts, which detects later ones
// only within 30 seconds. It may be nil, and may use only Helm, Client and
// the methods for CRDs.
func (e *Environment) Start(installCRDs func()) {
	GinkgoHelper()
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	ctx, cancel := context.WithCancel(context.Background())
	DeferCleanup(cancel)
	e.ctx = ctx
	e.TempDir = GinkgoT().TempDir()
	var err error
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		Expect(add(scheme)).To(Succeed())
	}
	e.cluster, err = controlplane.Start(ctx, controlplane.Options{APIServerFlags: e.APIServerFlags, BeforeControllers: func(cluster *controlplane.ControlPlane) (err error) {
		e.cluster = cluster
		if e.Client, err = client.New(cluster.Config(), client.Options{Scheme: scheme}); err != nil {
			return err
		}
		if e.discovery, err = discovery.NewDiscoveryClientForConfig(cluster.Config()); err != nil {
			return err
		}
		if installCRDs != nil {
			installCRDs()
		}
		return nil
	}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(e.cluster.Stop()).To(Succeed()) })
	e.metadata, err = metadata.NewForConfig(e.cluster.Config())
	Expect(err).NotTo(HaveOccurred())

	// The path of a Unix socket is limited to about 100 bytes, which TempDir may exceed.
	e.sockets, err = os.MkdirTemp("", "sim")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, e.sockets)
	e.Manager, err = process.Program(ctx, e.TempDir, "manager")
	Expect(err).NotTo(HaveOccurred())
	e.node, err = nodeagent.Start(ctx, nodeagent.Options{
		Config: e.cluster.Config(), Program: e.Manager, Directory: e.TempDir,
		Arguments: func(*corev1.Pod) []string {
			return []string{"--scheduler-address=" + e.schedulerAddress("{namespace}")}
		},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(e.node.Stop)
}

// StartScheduler starts the simulated scheduler of a namespace. It stops when the
// running spec, or the container of an ordered one, ends.
func (e *Environment) StartScheduler(namespace string) *fakescheduler.Scheduler {
	GinkgoHelper()
	started, err := fakescheduler.Start(e.ctx, fakescheduler.Options{Address: e.schedulerAddress(namespace)})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(started.Stop)
	return started
}

func (e *Environment) schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(e.sockets, namespace)
}

// Kubeconfig returns the path of the administrator's kubeconfig.
func (e *Environment) Kubeconfig() string { return e.cluster.KubeconfigPath() }

// User returns the kubeconfig of a user, as content.
func (e *Environment) User(name string, groups ...string) []byte {
	GinkgoHelper()
	_, content, err := e.cluster.User(name, groups...)
	Expect(err).NotTo(HaveOccurred())
	return content
}

// Helm runs Helm as an administrator and returns its output.
func (e *Environment) Helm(arguments ...string) string {
	GinkgoHelper()
	output, err := e.TryHelm(arguments...)
	Expect(err).NotTo(HaveOccurred(), strings.Join(arguments, " "))
	return output
}

// TryHelm runs Helm as Helm does, and returns an error if it fails.
func (e *Environment) TryHelm(arguments ...string) (string, error) {
	start := time.Now()
	output, err := helm.Helm{Home: e.TempDir, Kubeconfig: e.cluster.KubeconfigPath()}.Run(e.ctx, nil, arguments...)
	GinkgoWriter.Printf("helm %s: %v, %v\n", strings.Join(arguments, " "), time.Since(start).Round(10*time.Millisecond), err)
	return output, err
}

// Kubectl runs kubectl as an administrator and returns its output.
func (e *Environment) Kubectl(arguments ...string) string {
	GinkgoHelper()
	program, err := binaries.Path(binaries.Kubectl)
	Expect(err).NotTo(HaveOccurred())
	return e.Run(program, arguments...)
}

// Run runs a program as an administrator and returns its output.
func (e *Environment) Run(program string, arguments ...string) string {
	GinkgoHelper()
	command := exec.CommandContext(e.ctx, program, arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+e.cluster.KubeconfigPath())
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	Expect(err).NotTo(HaveOccurred(), "%s %s: %s", filepath.Base(program), strings.Join(arguments, " "), &stderr)
	return stdout.String()
}
