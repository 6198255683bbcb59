package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// files are where the TLS material is.
type files struct {
	certificate, key, clientCA string
}

// config is nil for plaintext. With an authority, clients must have a certificate.
func (f files) config() (*tls.Config, error) {
	if f == (files{}) {
		return nil, nil
	}
	if f.certificate == "" || f.key == "" {
		return nil, errors.New("TLS takes --tls-cert and --tls-key")
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, fmt.Errorf("load the certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.clientCA == "" {
		return config, nil
	}
	authority, err := os.ReadFile(f.clientCA)
	if err != nil {
		return nil, fmt.Errorf("load the authority: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("load the authority: no certificate in %s", f.clientCA)
	}
	return config, nil
}
