package controllers_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/faultproxy"
)

var _ = Describe("A session", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

	It("ends its connection with its runtime, and with the operator", ownOperator, func() {
		startOperator(controllers.Options{}, namespace)
		sim := newScheduler(namespace)
		open := func() int {
			_, open := sim.Connections()
			return open
		}
		for range 3 {
			runtime := newSmallRuntime(namespace)
			Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
			Expect(open()).To(Equal(1))
			Expect(admin.Delete(lifetime, runtime)).To(Succeed())
			Eventually(isDeleted(runtime)).Should(BeTrue())
			Eventually(open).Should(BeZero())
		}

		By("stopping the operator")
		newSmallRuntime(namespace)
		Eventually(open).Should(Equal(1))
		operator.stop()
		Eventually(open).WithTimeout(time.Second).Should(BeZero(), "the manager waits for its sessions")
	})

	It("subscribes again when its streams end", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		for range 3 {
			subscriptions := sim.Calls("SubscribeModelStatus")
			sim.EndStreams()
			Eventually(func() int { return sim.Calls("SubscribeModelStatus") }).Should(BeNumerically(">", subscriptions))
		}
		edit(model, func(m *v1alpha1.Model) { m.Spec.StorageURI = "gs://models/two" })
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(func() map[string]int { return sim.Subscribers("SubscribeModelStatus") }).Should(Equal(map[string]int{"seldon manager": 1}))
	})

	It("closes a connection without responses", func() {
		newScheduler(namespace, func(o *fakescheduler.Options) { o.Address += ".behind" })
		proxy, err := faultproxy.Listen(lifetime, schedulerAddress(namespace), schedulerAddress(namespace)+".behind")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		runtime := newSmallRuntime(namespace, withServer)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
		proxy.Freeze()
		newModel(namespace, "iris")
		// A call to ServerNotify may take 30 s until its deadline, and the check after it 10 s.
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).WithTimeout(60 * time.Second).Should(HavePrefix("False NoResponse"))
		proxy.Open()
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).WithTimeout(40 * time.Second).Should(HavePrefix("True"))
		Eventually(ready(&v1alpha1.Model{ObjectMeta: objectMeta(namespace, "iris")})).Should(HavePrefix("True"))
	})

	It("does not affect other namespaces when it hangs", func() {
		other := newNamespace()
		hangs := newScheduler(other)
		newSmallRuntime(other, withServer)
		Eventually(func() int { return hangs.Calls("ServerNotify") }).Should(BeNumerically(">", 0))
		release := hangs.HangCalls("LoadModel")
		DeferCleanup(release)
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			newModel(other, name)
		}
		newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).WithTimeout(5 * time.Second).Should(HavePrefix("True"))
	})

	It("uses TLS, and reloads certificates without a restart", ownOperator, func() {
		folder := GinkgoT().TempDir()
		file := func(name string) string { return filepath.Join(folder, name) }
		first, second := newAuthority("first"), newAuthority("second")
		write := func(authority *authority) {
			key, certificate := authority.issue()
			for name, content := range map[string][]byte{"tls.key": key, "tls.crt": certificate, "ca.crt": authority.pem()} {
				Expect(os.WriteFile(file(name), content, 0o600)).To(Succeed())
			}
		}
		write(first)
		// Like schedulers, it requires a client certificate. Handshakes run on goroutines of
		// the server.
		var current atomic.Pointer[tls.Config]
		current.Store(first.server())
		sim := newScheduler(namespace, func(o *fakescheduler.Options) {
			o.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil }} //nolint:gosec // the config that it gives has a minimum
		})
		startOperator(controllers.Options{TLS: &relay.TLS{
			KeyFile: file("tls.key"), CertFile: file("tls.crt"), CAFile: file("ca.crt"),
		}}, namespace)
		runtime := newSmallRuntime(namespace, withServer)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))

		By("rotating the CA of the scheduler first")
		sim.Stop()
		current.Store(second.server())
		Expect(sim.Restart(fakescheduler.RestartOptions{})).To(Succeed())
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(Equal("False TLSHandshakeFailed " + schedulerAddress(namespace) +
			": the scheduler's certificate is signed by unknown authority: configure the CA of that certificate for the operator"))
		write(second)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).WithTimeout(30 * time.Second).Should(HavePrefix("True"))

		By("reading a Secret by its name")
		key, certificate := second.issue()
		secret := &corev1.Secret{ObjectMeta: objectMeta(operatorNamespace, "control-plane"), Data: map[string][]byte{"tls.key": key, "tls.crt": certificate}}
		Expect(admin.Create(lifetime, secret)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(lifetime, secret)).To(Succeed()) })
		mark := requests.mark()
		inSecret := client.ObjectKeyFromObject(secret)
		startOperator(controllers.Options{TLS: &relay.TLS{
			KeyFile: "tls.key", CertFile: "tls.crt", CAFile: "ca.crt", Secret: inSecret, ServerSecret: inSecret, ServerCAFile: "ca.crt",
		}}, namespace)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(Equal(
			"False InvalidCredentials " + schedulerAddress(namespace) + ": Secret seldon-system/control-plane has no key ca.crt: add it"))
		secret.Data["ca.crt"] = second.pem()
		Expect(admin.Update(lifetime, secret)).To(Succeed())
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).WithTimeout(30 * time.Second).Should(HavePrefix("True"))
		for _, entry := range requests.since(mark, operatorNamespace) {
			Expect(entry).NotTo(HaveSuffix("/secrets"), "Secrets are not listed")
		}
	})
})

var _ = Describe("RemoveFinalizers", ownOperator, func() {
	It("removes every finalizer, and reports each object", func() {
		namespace := newNamespace()
		startOperator(controllers.Options{}, namespace)
		newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		objects := []client.Object{newModel(namespace, "iris"), newPipeline(namespace, "iris"), newExperiment(namespace, "iris")}
		for _, object := range append([]client.Object{runtime}, objects...) {
			Eventually(func() []string {
				Expect(admin.Get(lifetime, client.ObjectKeyFromObject(object), object)).To(Succeed())
				return object.GetFinalizers()
			}).Should(HaveLen(1))
		}
		operator.stop()
		var released []string
		Expect(controllers.RemoveFinalizers(lifetime, admin, []string{namespace}, func(kind string, object client.Object) {
			released = append(released, kind+" "+object.GetName())
		})).To(Succeed())
		Expect(released).To(ConsistOf("Model iris", "Pipeline chain", "Experiment ab", "SeldonRuntime seldon"))
		for _, object := range objects {
			Expect(admin.Delete(lifetime, object)).To(Succeed())
			Expect(isDeleted(object)()).To(BeTrue())
		}
	})
})

// authority is a CA.
type authority struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newAuthority(name string) *authority {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name}, key)
	Expect(err).NotTo(HaveOccurred())
	return &authority{key, certificate}
}

func (a *authority) pem() []byte {
	content, err := cert.EncodeCertificates(a.certificate)
	Expect(err).NotTo(HaveOccurred())
	return content
}

// issue creates a key and a certificate for localhost, for clients and servers.
func (a *authority) issue() (key, certificate []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: a.certificate.NotBefore, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	Expect(err).NotTo(HaveOccurred())
	parsed, err := x509.ParseCertificate(signed)
	Expect(err).NotTo(HaveOccurred())
	certificate, err = cert.EncodeCertificates(parsed)
	Expect(err).NotTo(HaveOccurred())
	key, err = keyutil.MarshalPrivateKeyToPEM(private)
	Expect(err).NotTo(HaveOccurred())
	return key, certificate
}

// server returns the configuration of a server that requires client certificates of the
// same CA.
func (a *authority) server() *tls.Config {
	key, certificate := a.issue()
	pair, err := tls.X509KeyPair(certificate, key)
	Expect(err).NotTo(HaveOccurred())
	clients := x509.NewCertPool()
	clients.AddCert(a.certificate)
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	}
}
