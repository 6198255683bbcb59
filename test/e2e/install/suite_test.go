// Package install_test installs the operator in each of its modes and runs it as
// bin/manager with nothing but the rights of its ServiceAccount, through the whole
// life of a runtime. What it asked for is read in the API server's audit log: nothing
// that it had no right to, and of its rights none that it does not need.
package install_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
	"github.com/seldon-operator/seldon-operator/test/framework/nodeagent"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	// account and deployment are the operator's in every install.
	account    = "seldon-v2-controller-manager"
	deployment = "seldon-v2-controller-manager"
)

var (
	lifetime, endLifetime = context.WithCancel(context.Background())

	cluster *controlplane.ControlPlane
	node    *nodeagent.Agent
	user    client.Client
	audited = audit{requests: map[string][]request{}}
	kubectl string
	charts  helm.Helm
	// sockets is where the schedulers of all namespaces listen.
	sockets string
)

func TestInstalls(t *testing.T) {
	RegisterFailHandler(Fail)
	// Far longer than anything takes, also on two processors with other tests.
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Installs")
}

var _ = BeforeSuite(func() {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	DeferCleanup(endLifetime)
	folder := GinkgoT().TempDir()
	auditLog := filepath.Join(folder, "audit.log")
	policy := filepath.Join(folder, "audit.yaml")
	Expect(os.WriteFile(policy, []byte(auditPolicy), 0o600)).To(Succeed())
	var err error
	cluster, err = controlplane.Start(lifetime, controlplane.Options{
		APIServerFlags: []string{"--audit-log-path=" + auditLog, "--audit-policy-file=" + policy},
		CRDs:           []string{filepath.Join("..", "..", "..", "config", "crd", "bases")},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	audited.file, err = os.Open(auditLog)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(audited.file.Close)
	charts = helm.Helm{Home: folder, Kubeconfig: cluster.KubeconfigPath()}
	kubectl, err = binaries.Path(binaries.Kubectl)
	Expect(err).NotTo(HaveOccurred())
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	user, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	// The paths of sockets are short: not in a folder of the test's own.
	sockets, err = os.MkdirTemp("", "sim")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, sockets)
	program, err := process.Build(lifetime, folder, "manager")
	Expect(err).NotTo(HaveOccurred())
	node, err = nodeagent.Start(lifetime, nodeagent.Options{
		Config: cluster.Config(), Program: program, Directory: folder,
		Arguments: func(*corev1.Pod) []string { return []string{"--scheduler-address=" + schedulerAddress("{namespace}")} },
		// As with the oldest API server that is supported: its lists come by requests of
		// that name and not by watches, and have to be granted.
		Environment: func(*corev1.Pod) []string { return []string{"KUBE_FEATURE_WatchListClient=false"} },
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(node.Stop)
})

func schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(sockets, namespace)
}
