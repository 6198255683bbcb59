package relay

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// testCA signs certificates for clients and servers.
type testCA struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// testCertificate has the differences from a valid certificate for localhost.
type testCertificate struct {
	name    string
	expired bool
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newTestKey(t)
	return &testCA{key, signTestCertificate(t, template, template, key.Public(), key)}
}

func newTestKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signTestCertificate(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	content, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(content)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func (ca *testCA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// issue creates a certificate that is valid for an hour, and its key.
func (ca *testCA) issue(t *testing.T, c testCertificate) (certificate, key []byte) {
	t.Helper()
	if c.name == "" {
		c.name = "localhost"
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.expired {
		template.NotAfter = time.Now().Add(-time.Minute)
	}
	private := newTestKey(t)
	signed := signTestCertificate(t, template, ca.certificate, private.Public(), ca.key)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encodePEM("CERTIFICATE", signed.Raw), encodePEM("PRIVATE KEY", encoded)
}

func encodePEM(kind string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
}

// data has the keys of a Secret, or the names of files.
func (ca *testCA) data(t *testing.T) map[string][]byte {
	t.Helper()
	certificate, key := ca.issue(t, testCertificate{})
	return map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": encodePEM("CERTIFICATE", ca.certificate.Raw)}
}

func (ca *testCA) files(t *testing.T) *TLS {
	t.Helper()
	folder := t.TempDir()
	for name, content := range ca.data(t) {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &TLS{KeyFile: filepath.Join(folder, "tls.key"), CertFile: filepath.Join(folder, "tls.crt"), CAFile: filepath.Join(folder, "ca.crt")}
}

func (ca *testCA) serverConfig(t *testing.T, c testCertificate) *tls.Config {
	t.Helper()
	certificate, key := ca.issue(t, c)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// secretsUnderTest is an API server with the Secret seldon-system/client.
type secretsUnderTest struct {
	client.Client
	secret *corev1.Secret
	gets   atomic.Int32
	hang   atomic.Bool
}

func newSecrets(data map[string][]byte) *secretsUnderTest {
	s := &secretsUnderTest{secret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "seldon-system", Name: "client"}, Data: data}}
	s.Client = fake.NewClientBuilder().WithObjects(s.secret).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			s.gets.Add(1)
			if s.hang.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return c.Get(ctx, key, object, options...)
		},
	}).Build()
	return s
}

func (s *secretsUnderTest) tls() *TLS {
	key := client.ObjectKeyFromObject(s.secret)
	return &TLS{KeyFile: "tls.key", CertFile: "tls.crt", CAFile: "other.crt", Secret: key, ServerCAFile: "ca.crt", ServerSecret: key}
}

// Sessions that have no connection share their reads of Secrets.
func TestCertificatesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := newSecrets(newTestCA(t).data(t))
		relay := New(t.Context(), Options{TLS: secrets.tls(), APIReader: secrets})
		var dials atomic.Int32
		relay.dialContext = func(context.Context, string) (net.Conn, error) {
			dials.Add(1)
			near, far := net.Pipe()
			_ = far.Close()
			return near, nil
		}
		const sessions = 50
		for range sessions {
			mustConnect(t, relay.newTransport("team")).Connect()
		}
		time.Sleep(59 * time.Second)
		if gets := secrets.gets.Load(); gets > 6 || dials.Load() < 4*sessions {
			t.Errorf("%d GETs for %d attempts to connect in 59 seconds", gets, dials.Load())
		}
	})
}

// New certificates, also of the CA, are used for new connections; if they
// cannot be read any more, the previous ones are used until they expire.
func TestCertificatesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newTestCA(t), newTestCA(t)
		var current atomic.Pointer[tls.Config]
		serve := func(ca *testCA) {
			config := ca.serverConfig(t, testCertificate{name: "seldon-scheduler.team"})
			config.ClientAuth, config.ClientCAs, config.NextProtos = tls.RequireAndVerifyClientCert, ca.pool(), []string{"h2"}
			current.Store(config)
		}
		serve(first)
		listener := bufconn.Listen(1 << 16)
		serveGRPC(t, listener, respondStatus(codes.Aborted), grpc.Creds(credentials.NewTLS(&tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil }, MinVersion: tls.VersionTLS12,
		})))
		secrets := newSecrets(first.data(t))
		var log strings.Builder
		relay := New(t.Context(), Options{TLS: secrets.tls(), APIReader: secrets, Log: funcr.New(func(_, line string) { log.WriteString(line + "\n") }, funcr.Options{})})
		relay.dialContext = func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
		// It returns the reason, or "" after a connection.
		attempt := func() (string, string) {
			transport := relay.newTransport("team")
			err := subscribe(t, mustConnect(t, transport))
			if status.Code(err) == codes.Aborted {
				return "", ""
			}
			return classifyDisconnect(err, transport.lastError())
		}
		expect := func(what, want string) {
			t.Helper()
			if reason, message := attempt(); reason != want {
				t.Errorf("%s: %q (%s), want %q", what, reason, message, want)
			}
		}

		expect("first", "")
		serve(second)
		secrets.secret.Data = second.data(t)
		if err := secrets.Patch(t.Context(), secrets.secret, client.Merge); err != nil {
			t.Fatal(err)
		}
		expect("read less than 10 seconds ago", ReasonTLSHandshakeFailed)
		time.Sleep(10 * time.Second)
		expect("renewed", "")

		secrets.hang.Store(true)
		time.Sleep(10 * time.Second)
		begin := time.Now()
		expect("an API server that hangs", "")
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
		begin = time.Now()
		expect("an API server that hung just now", "")
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %s", took)
		}
		secrets.hang.Store(false)
		if err := secrets.Delete(t.Context(), secrets.secret); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			time.Sleep(10 * time.Second)
			expect("the Secret is deleted", "")
		}
		if times := strings.Count(log.String(), `read Secret seldon-system/client: secrets \"client\" not found`); times != 1 {
			t.Errorf("logged %d times:\n%s", times, log.String())
		}
		time.Sleep(time.Hour)
		serve(second)
		reason, message := attempt()
		if reason != ReasonCredentials || message != `read Secret seldon-system/client: secrets "client" not found` {
			t.Errorf("deleted and expired: %s: %s", reason, message)
		}
	})
}

// The end of a session does not wait for the API server, and the read ends with the
// relay.
func TestCertificatesReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := newSecrets(nil)
		secrets.hang.Store(true)
		lifetime, end := context.WithCancel(t.Context())
		relay := New(lifetime, Options{TLS: secrets.tls(), APIReader: secrets})
		session, endSession := context.WithCancel(t.Context())
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			endSession()
			time.Sleep(time.Second)
			end()
		}()
		if _, err := relay.certificates.current(session); !errors.Is(err, context.Canceled) || time.Since(begin) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		if _, err := relay.certificates.current(t.Context()); !errors.Is(err, context.Canceled) || time.Since(begin) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		if gets := secrets.gets.Load(); gets != 1 {
			t.Errorf("%d GETs", gets)
		}
	})
}

// The message names what is missing or invalid.
func TestInvalidCredentials(t *testing.T) {
	ca := newTestCA(t)
	for name, test := range map[string]struct {
		change func(map[string][]byte)
		err    string
	}{
		"valid":       {change: func(map[string][]byte) {}},
		"no key":      {change: func(d map[string][]byte) { delete(d, "tls.key") }, err: "Secret seldon-system/client has no key tls.key: add it"},
		"no CA":       {change: func(d map[string][]byte) { delete(d, "ca.crt") }, err: "Secret seldon-system/client has no key ca.crt: add it"},
		"an empty CA": {change: func(d map[string][]byte) { d["ca.crt"] = nil }, err: "CA ca.crt, by which schedulers are verified, contains no PEM certificate: add it in PEM format"},
		"another key": {
			change: func(d map[string][]byte) { d["tls.key"] = ca.data(t)["tls.key"] },
			err:    "certificate tls.crt with key tls.key: tls: private key does not match public key",
		},
	} {
		data := ca.data(t)
		test.change(data)
		secrets := newSecrets(data)
		relay := New(t.Context(), Options{TLS: secrets.tls(), APIReader: secrets})
		_, err := relay.certificates.current(t.Context())
		if err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%s: %v", name, err)
		}
	}
}
