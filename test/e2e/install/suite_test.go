// Package install_test installs the operator in each of its modes, runs it with the
// permissions of its ServiceAccount only, and takes a runtime from creation to
// deletion. The API server's audit log then shows that no request was forbidden, and
// that every permission was used.
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
	// account and deployment have the same names in every mode.
	account    = "seldon-v2-controller-manager"
	deployment = "seldon-v2-controller-manager"
)

var (
	ctx, cancel = context.WithCancel(context.Background())

	cluster   *controlplane.ControlPlane
	node      *nodeagent.Agent
	k8sClient client.Client
	audited   = audit{requests: map[string][]request{}}
	kubectl   string
	charts    helm.Helm
	// sockets is the directory with the socket of each namespace's scheduler.
	sockets string
)

func TestInstalls(t *testing.T) {
	RegisterFailHandler(Fail)
	// Much longer than anything takes on two processors that also run other tests.
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Installs")
}

var _ = BeforeSuite(func() {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	DeferCleanup(cancel)
	folder := GinkgoT().TempDir()
	auditLog := filepath.Join(folder, "audit.log")
	policy := filepath.Join(folder, "audit.yaml")
	Expect(os.WriteFile(policy, []byte(auditPolicy), 0o600)).To(Succeed())
	var err error
	cluster, err = controlplane.Start(ctx, controlplane.Options{
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
	k8sClient, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	// The path of a Unix socket is limited to about 100 bytes, which TempDir may exceed.
	sockets, err = os.MkdirTemp("", "sim")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, sockets)
	program, err := process.Program(ctx, folder, "manager")
	Expect(err).NotTo(HaveOccurred())
	node, err = nodeagent.Start(ctx, nodeagent.Options{
		Config: cluster.Config(), Program: program, Directory: folder,
		Arguments: func(*corev1.Pod) []string { return []string{"--scheduler-address=" + schedulerAddress("{namespace}")} },
		// As with the oldest supported API server: informers list by list requests, which
		// need a permission, and not by watches.
		Environment: func(*corev1.Pod) []string { return []string{"KUBE_FEATURE_WatchListClient=false"} },
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(node.Stop)
})

func schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(sockets, namespace)
}
