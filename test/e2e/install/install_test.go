package install_test

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// install is one operator, and how it is installed.
type install struct {
	// namespace is the operator's own.
	namespace string
	// workloadNamespace is one that it watches, with the runtime of the test.
	workloadNamespace string
	// listed are the namespaces that it watches in addition to its own.
	listed []string
	// all makes it watch all namespaces.
	all bool

	// kustomizations are directories, relative to the root of the repository, in the
	// order in which they are applied. If empty, the chart is installed.
	kustomizations []string
	// values are values of the chart, as for helm --set.
	values []string

	// sameAs is an operator whose permissions are equal, or nil if this one takes a
	// runtime through its whole life.
	sameAs *install

	// secure makes operator and scheduler use TLS.
	secure bool
	// tls is set by createCertificates.
	tls *tls.Config
}

// setup is the name of the chart and of its release.
const setup = "setup"

// watched returns the listed namespaces and the one with the runtime, sorted.
func (i *install) watched() []string {
	names := append([]string{i.workloadNamespace}, i.listed...)
	slices.Sort(names)
	return slices.Compact(names)
}

// namespaces returns those that must exist before the installation. Kustomize creates
// the operator's own.
func (i *install) namespaces() []string {
	names := slices.DeleteFunc(i.watched(), func(name string) bool { return name == i.namespace })
	if i.kustomizations == nil {
		names = append(names, i.namespace)
	}
	return names
}

// allowedIn returns whether the operator may have permissions in a namespace. The
// namespace "" stands for all.
func (i *install) allowedIn(namespace string) bool {
	return i.all || namespace == i.namespace || slices.Contains(i.listed, namespace)
}

// install installs the operator, in existing namespaces, and returns when it is ready.
func (i *install) install() {
	GinkgoHelper()
	for _, folder := range i.kustomizations {
		run("", "apply", "--kustomize", filepath.Join("..", "..", "..", folder))
	}
	if i.kustomizations == nil {
		if i.secure {
			i.createCertificates()
		}
		i.helm("install", helm.Chart(setup), "--wait")
		Expect(i.helm("test")).To(MatchRegexp(`Phase:\s+Succeeded`))
	}
	i.awaitAvailable()
}

// helm runs a Helm command on the release, with the values if the chart is an argument.
func (i *install) helm(command string, arguments ...string) string {
	GinkgoHelper()
	all := append([]string{command, setup, "--namespace", i.namespace}, arguments...)
	if slices.Contains(arguments, helm.Chart(setup)) {
		for _, value := range i.values {
			all = append(all, "--set", value)
		}
	}
	output, err := charts.Run(ctx, nil, all...)
	Expect(err).NotTo(HaveOccurred(), i.log)
	return output
}

// createCertificates creates the Secrets that the chart's values name. Scheduler and
// operator have the same certificate.
func (i *install) createCertificates() {
	GinkgoHelper()
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	Expect(err).NotTo(HaveOccurred())
	pair, err := tls.X509KeyPair(certificate, key)
	Expect(err).NotTo(HaveOccurred())
	i.tls = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	}
	for _, name := range []string{"seldon-controlplane-client", "seldon-controlplane-server"} {
		Expect(k8sClient.Create(ctx, &corev1.Secret{
			ObjectMeta: metadata(i.namespace, name),
			Data:       map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": certificate},
		})).To(Succeed())
	}
}

// awaitAvailable waits until all replicas of the operator are up to date and available.
func (i *install) awaitAvailable() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		found := &appsv1.Deployment{}
		g.Expect(k8sClient.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: deployment}, found)).To(Succeed())
		g.Expect(found.Status.ObservedGeneration).To(Equal(found.Generation))
		g.Expect([]int32{found.Status.Replicas, found.Status.UpdatedReplicas, found.Status.AvailableReplicas}).To(HaveEach(*found.Spec.Replicas), i.log)
	}).Should(Succeed())
}

// log returns the last 64 KiB of the operator's log.
func (i *install) log() string {
	log, err := node.Log(i.namespace, deployment)
	if err != nil {
		return err.Error()
	}
	return log[max(0, len(log)-1<<16):]
}

// pods returns the names of the operator's pods that are not being deleted.
func (i *install) pods() []string {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(k8sClient.List(ctx, pods, client.InNamespace(i.namespace), client.MatchingLabels{"control-plane": "v2-controller-manager"})).To(Succeed())
	var names []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

// removeFinalizers stops the operator and removes its finalizers, by a Job with its account:
// that of docs/how-to/modes.md, or the uninstall hook of the chart.
func (i *install) removeFinalizers() {
	GinkgoHelper()
	name := "remove-finalizers"
	if i.kustomizations == nil {
		name = "seldon-v2-remove-finalizers"
	}
	// The log of earlier Jobs is kept.
	stops := func() int {
		log, err := node.Log(i.namespace, name)
		Expect(err).NotTo(HaveOccurred())
		return strings.Count(log, "stopped Deployment "+i.namespace+"/"+deployment)
	}
	before := stops()
	if i.kustomizations == nil {
		i.helm("uninstall")
	} else {
		run(fmt.Sprintf(removeFinalizersJob, i.all || i.listed != nil, strings.Join(i.listed, ",")), "apply", "--namespace", i.namespace, "--filename", "-")
		i.awaitComplete(name)
	}
	Expect(i.pods()).To(BeEmpty())
	Expect(stops()).To(Equal(before + 1))
}

func (i *install) awaitComplete(name string) {
	GinkgoHelper()
	job := &batchv1.Job{ObjectMeta: metadata(i.namespace, name)}
	Eventually(func() int32 {
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(job), job)).To(Succeed())
		Expect(job.Status.Failed).To(BeZero(), func() string {
			log, _ := node.Log(i.namespace, name)
			return log
		})
		return job.Status.Succeeded
	}).Should(BeEquivalentTo(1))
}

// deletedNamespaces are being deleted. That takes ten seconds each, during which the
// other specs run.
var (
	deletedNamespaces     []client.Object
	deletedNamespacesLock sync.Mutex
)

// remove uninstalls what is left, and deletes the namespaces.
func (i *install) remove() {
	GinkgoHelper()
	names := i.namespaces()
	if i.kustomizations == nil {
		i.helm("uninstall", "--ignore-not-found")
	} else {
		names = append(names, i.namespace)
	}
	for _, folder := range slices.Backward(i.kustomizations) {
		run("", "delete", "--kustomize", filepath.Join("..", "..", "..", folder), "--wait=false")
	}
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		Expect(client.IgnoreNotFound(k8sClient.Delete(ctx, namespace))).To(Succeed())
		deletedNamespacesLock.Lock()
		deletedNamespaces = append(deletedNamespaces, namespace)
		deletedNamespacesLock.Unlock()
	}
}

// No namespace waits for an operator that has been uninstalled.
var _ = AfterSuite(func() { awaitDeleted(deletedNamespaces...) })

// removeFinalizersJob is the Job of docs/how-to/modes.md, with the flags of every mode.
const removeFinalizersJob = `apiVersion: batch/v1
kind: Job
metadata: {name: remove-finalizers}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      serviceAccountName: ` + account + `
      containers:
        - name: remove-finalizers
          image: operator
          command: [/manager]
          args:
            - remove-finalizers
            - --stop-deployment=` + deployment + `
            - --namespace=$(POD_NAMESPACE)
            - --clusterwide=$(CLUSTERWIDE)
            - --watch-namespaces=$(WATCH_NAMESPACES)
          env:
            - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
            - {name: CLUSTERWIDE, value: "%t"}
            - {name: WATCH_NAMESPACES, value: "%s"}
`
