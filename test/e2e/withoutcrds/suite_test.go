// Package withoutcrds_test runs what kubectl seldon renders in a cluster that has neither the
// CRDs nor the operator, and installs the operator later.
package withoutcrds_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli"
	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

var (
	ctx, cancel = context.WithCancel(context.Background())

	environment = &installation.Environment{}
)

func TestWithoutCRDs(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Without CRDs")
}

var _ = BeforeSuite(func() {
	DeferCleanup(cancel)
	environment.Start(nil)
})

// root returns the path of a file of the repository.
func root(path string) string { return filepath.Join("..", "..", "..", filepath.FromSlash(path)) }

// render returns the path of a file with what kubectl seldon renders for a text.
func render(namespace, text string) string {
	GinkgoHelper()
	var stdout, stderr bytes.Buffer
	config := cli.Config{Name: "kubectl seldon", Version: "dev", Streams: genericiooptions.IOStreams{In: bytes.NewBufferString(text), Out: &stdout, ErrOut: &stderr}}
	Expect(cli.Run(ctx, config, []string{"render", "--namespace", namespace, "--filename=-"})).To(BeZero(), stderr.String())
	file := filepath.Join(GinkgoT().TempDir(), "rendered.yaml")
	Expect(os.WriteFile(file, stdout.Bytes(), 0o600)).To(Succeed())
	return file
}

// startSync runs kubectl seldon sync for a folder until the running spec ends.
func startSync(namespace, folder, scheduler string) {
	GinkgoHelper()
	syncCtx, stop := context.WithCancel(ctx)
	ended := make(chan int)
	config := cli.Config{Name: "kubectl seldon", Version: "dev", Streams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: GinkgoWriter, ErrOut: GinkgoWriter}}
	go func() {
		ended <- cli.Run(syncCtx, config, []string{
			"sync", "--kubeconfig", environment.Kubeconfig(), "--namespace", namespace, "--filename", folder, "--scheduler", scheduler, "--watch",
		})
	}()
	DeferCleanup(func() {
		stop()
		Expect(<-ended).To(BeZero())
	})
}

// newNamespace creates a namespace, which is not deleted.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	Expect(environment.Client.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

// pods returns the UIDs of the pods in a namespace that are ready, by name.
func pods(namespace string) map[string]string {
	GinkgoHelper()
	list := &corev1.PodList{}
	Expect(environment.Client.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	uids := map[string]string{}
	for _, pod := range list.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				uids[pod.Name] = string(pod.UID)
			}
		}
	}
	return uids
}

// get reads an object.
func get[T client.Object](object T, namespace, name string) T {
	GinkgoHelper()
	Expect(environment.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)).To(Succeed())
	return object
}
