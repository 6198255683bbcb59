package install_test

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

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
	// home is one that it watches, where a runtime goes through its life.
	home string
	// listed are the namespaces that it watches besides its own; all tells that it
	// watches all of them.
	listed []string
	all    bool

	// kustomizations are folders, relative to the root of the repository, in the order
	// in which they are applied. None stands for the chart, with values as of helm --set.
	kustomizations []string
	values         []string

	// secure has the scheduler speak TLS, by what makeCertificates makes.
	secure bool
	tls    *tls.Config
}

// setup is the name of the chart, and of its release.
const setup = "setup"

// watched are namespaces that it watches: those listed, and its home.
func (i *install) watched() []string {
	names := append([]string{i.home}, i.listed...)
	slices.Sort(names)
	return slices.Compact(names)
}

// namespaces have to be there before it. Kustomize brings the operator's own.
func (i *install) namespaces() []string {
	names := slices.DeleteFunc(i.watched(), func(name string) bool { return name == i.namespace })
	if i.kustomizations == nil {
		names = append(names, i.namespace)
	}
	return names
}

// may tells whether an operator has rights in a namespace; "" is all of them.
func (i *install) may(namespace string) bool {
	return i.all || namespace == i.namespace || slices.Contains(i.listed, namespace)
}

// install installs an operator, in namespaces that are there, and returns when it
// is ready.
func (i *install) install() {
	GinkgoHelper()
	for _, folder := range i.kustomizations {
		run("", "apply", "--kustomize", filepath.Join("..", "..", "..", folder))
	}
	if i.kustomizations == nil {
		if i.secure {
			i.makeCertificates()
		}
		i.helm("install", helm.Chart(setup), "--wait")
		Expect(i.helm("test")).To(MatchRegexp(`Phase:\s+Succeeded`))
	}
	i.untilAvailable()
}

// helm runs a command on the release, with its values if it takes the chart.
func (i *install) helm(command string, further ...string) string {
	GinkgoHelper()
	arguments := append([]string{command, setup}, further...)
	if slices.Contains(further, helm.Chart(setup)) {
		for _, value := range i.values {
			arguments = append(arguments, "--set", value)
		}
	}
	output, err := charts.Run(lifetime, nil, append(arguments, "--namespace", i.namespace)...)
	Expect(err).NotTo(HaveOccurred(), i.log)
	return output
}

// makeCertificates makes the Secrets that the chart's values name. Scheduler and
// operator are the same to each other.
func (i *install) makeCertificates() {
	GinkgoHelper()
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	Expect(err).NotTo(HaveOccurred())
	pair, err := tls.X509KeyPair(certificate, key)
	Expect(err).NotTo(HaveOccurred())
	i.tls = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	}
	for _, name := range []string{"seldon-controlplane-client", "seldon-controlplane-server"} {
		Expect(user.Create(lifetime, &corev1.Secret{
			ObjectMeta: metadata(i.namespace, name),
			Data:       map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": certificate},
		})).To(Succeed())
	}
}

// untilAvailable waits until the operator is ready, with as many replicas as it is
// to have.
func (i *install) untilAvailable() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		found := &appsv1.Deployment{}
		g.Expect(user.Get(lifetime, client.ObjectKey{Namespace: i.namespace, Name: deployment}, found)).To(Succeed())
		g.Expect(found.Status.ObservedGeneration).To(Equal(found.Generation))
		g.Expect([]int32{found.Status.Replicas, found.Status.UpdatedReplicas, found.Status.AvailableReplicas}).To(HaveEach(*found.Spec.Replicas), i.log)
	}).Should(Succeed())
}

// log is the end of what the operator printed.
func (i *install) log() string {
	log, err := node.Log(i.namespace, deployment)
	if err != nil {
		return err.Error()
	}
	return log[max(0, len(log)-1<<16):]
}

// pods are the names of the operator's pods that are not being deleted.
func (i *install) pods() []string {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(user.List(lifetime, pods, client.InNamespace(i.namespace), client.MatchingLabels{"control-plane": "v2-controller-manager"})).To(Succeed())
	var names []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

// removeFinalizers stops the operator and has its finalizers removed, by a Job with its
// account: that of docs/modes.md, or the one that the chart has for its uninstall.
func (i *install) removeFinalizers() {
	GinkgoHelper()
	name := "remove-finalizers"
	if i.kustomizations == nil {
		name = "seldon-v2-remove-finalizers"
	}
	// Of Jobs before this one the log stays.
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
		i.untilComplete(name)
	}
	Expect(i.pods()).To(BeEmpty())
	Expect(stops()).To(Equal(before + 1))
}

func (i *install) untilComplete(name string) {
	GinkgoHelper()
	job := &batchv1.Job{ObjectMeta: metadata(i.namespace, name)}
	Eventually(func() int32 {
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(job), job)).To(Succeed())
		Expect(job.Status.Failed).To(BeZero(), func() string {
			log, _ := node.Log(i.namespace, name)
			return log
		})
		return job.Status.Succeeded
	}).Should(BeEquivalentTo(1))
}

// going are namespaces that are being deleted. That takes ten seconds each, in which
// the tests go on.
var going []client.Object

// remove takes the rest away, the namespaces with it.
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
		Expect(client.IgnoreNotFound(user.Delete(lifetime, namespace))).To(Succeed())
		going = append(going, namespace)
	}
}

// Nothing in a namespace waits for an operator that has gone.
var _ = AfterSuite(func() { untilGone(going...) })

// removeFinalizersJob is what docs/modes.md tells, with the flags of any mode.
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
