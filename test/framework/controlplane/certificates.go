package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// certificateLifetime is longer than any control plane runs.
const certificateLifetime = 365 * 24 * time.Hour

// authority signs the API server's certificate and those of its users.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// newAuthority creates a certificate authority.
func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create the key of the certificate authority: %w", err)
	}
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "local-control-plane"}, key)
	if err != nil {
		return nil, fmt.Errorf("create the certificate authority: %w", err)
	}
	return &authority{certificate: certificate, key: key}, nil
}

// bundle returns the authority's certificate in PEM.
func (a *authority) bundle() ([]byte, error) {
	return certutil.EncodeCertificates(a.certificate)
}

// forServer issues a certificate and key, both in PEM, for a server on loopback.
func (a *authority) forServer() (certificate, key []byte, err error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// forUser issues a certificate and key, both in PEM, that authenticate at the
// API server as the named user and member of the groups.
func (a *authority) forUser(name string, groups ...string) (certificate, key []byte, err error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) issue(template *x509.Certificate) (certificate, key []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("issue a certificate for %s: %w", template.Subject.CommonName, err)
		}
	}()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.NotBefore = a.certificate.NotBefore
	template.NotAfter = time.Now().Add(certificateLifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, signer.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if certificate, err = certutil.EncodeCertificates(parsed); err != nil {
		return nil, nil, err
	}
	if key, err = keyutil.MarshalPrivateKeyToPEM(signer); err != nil {
		return nil, nil, err
	}
	return certificate, key, nil
}
