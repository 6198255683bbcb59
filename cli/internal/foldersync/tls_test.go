package foldersync

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// TLS is configured by the environment variables of the operator.
func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := newFolder(t, map[string]string{
		"tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encodedKey})),
		"tls.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
	})
	crt := filepath.Join(files.path, "tls.crt")
	pair, err := tls.LoadX509KeyPair(crt, filepath.Join(files.path, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	scheduler := startScheduler(t, fakescheduler.Options{TLS: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}})
	configured, err := relay.TLSFromEnvironment(func(name string) string {
		return map[string]string{
			"CONTROL_PLANE_SECURITY_PROTOCOL":       "SSL",
			"CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION": filepath.Join(files.path, "tls.key"),
			"CONTROL_PLANE_CLIENT_TLS_CRT_LOCATION": crt,
			"CONTROL_PLANE_CLIENT_TLS_CA_LOCATION":  crt,
		}[name]
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, scheduler, newFolder(t, everything), func(o *Options) { o.TLS = configured })
	r.model("iris", "gs://iris")

	plain := start(t, scheduler, newFolder(t, everything), nil)
	plain.wait("TLS", func() bool {
		return plain.has("Scheduler "+scheduler.Address(), relay.ReasonUnavailable, "CONTROL_PLANE_SECURITY_PROTOCOL=SSL") ||
			plain.has("Scheduler "+scheduler.Address(), relay.ReasonTLSHandshakeFailed, "CONTROL_PLANE_SECURITY_PROTOCOL=SSL")
	})
}
