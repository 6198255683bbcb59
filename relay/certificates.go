package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// certificatesMaxAge is how long certificates, or the error of reading them, are
	// used for new connections before they are read again.
	certificatesMaxAge = 10 * time.Second
	// certificatesTimeout is the timeout for reading them, including Secrets.
	certificatesTimeout = 5 * time.Second
)

// certificateCache reads the certificates of [TLS] for all sessions of a relay, so that
// each Secret is read at most once in 10 seconds, regardless of the number of
// sessions. It is safe for concurrent use.
type certificateCache struct {
	lifetime context.Context
	tls      *TLS
	secrets  client.Reader
	log      logr.Logger
	reads    singleflight.Group

	// The following fields are used by one read at a time.

	// readAt is when the last read ended; err is its error.
	readAt time.Time
	err    error
	// valid is the last credentials that could be read, validUntil the end of the client
	// certificate's validity.
	valid      credentials.TransportCredentials
	validUntil time.Time
}

// current returns credentials that were read within the last 10 seconds. If they cannot
// be read, it returns the last ones until the client certificate expires, and then the
// error. It returns after 5 seconds at most, or when ctx ends.
func (c *certificateCache) current(ctx context.Context) (credentials.TransportCredentials, error) {
	result := c.reads.DoChan("", func() (any, error) { return c.refresh() })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(credentials.TransportCredentials), nil
	}
}

// refresh reads the certificates, unless they were read within certificatesMaxAge.
func (c *certificateCache) refresh() (credentials.TransportCredentials, error) {
	if c.readAt.IsZero() || time.Since(c.readAt) >= certificatesMaxAge {
		// Not with the context of a session: others wait for the same read.
		ctx, cancel := context.WithTimeout(c.lifetime, certificatesTimeout)
		defer cancel()
		config, err := c.tls.read(ctx, c.secrets)
		if err == nil {
			c.valid, c.validUntil = credentials.NewTLS(config), config.Certificates[0].Leaf.NotAfter
		} else if c.err == nil || c.err.Error() != err.Error() {
			c.log.Error(err, "read the certificates for schedulers", "previousUsedUntil", c.validUntil)
		}
		c.readAt, c.err = time.Now(), err
	}
	if c.err != nil && !time.Now().Before(c.validUntil) {
		return nil, c.err
	}
	return c.valid, nil
}

// read reads the certificates, each Secret once.
func (t *TLS) read(ctx context.Context, secrets client.Reader) (*tls.Config, error) {
	open, err := t.opener(ctx, secrets, t.Secret)
	if err != nil {
		return nil, err
	}
	key, err := open(t.KeyFile)
	if err != nil {
		return nil, err
	}
	certificate, err := open(t.CertFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
	}
	name := t.CAFile
	if t.ServerCAFile != "" {
		name = t.ServerCAFile
		if t.ServerSecret != t.Secret {
			if open, err = t.opener(ctx, secrets, t.ServerSecret); err != nil {
				return nil, err
			}
		}
	}
	ca, err := open(name)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("CA %s, by which schedulers are verified, contains no PEM certificate: add it in PEM format", name)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// opener returns a function that reads keys of a Secret or, without a name of one, files.
func (t *TLS) opener(ctx context.Context, secrets client.Reader, key client.ObjectKey) (func(name string) ([]byte, error), error) {
	if key.Name == "" {
		return os.ReadFile, nil
	}
	secret := &corev1.Secret{}
	if err := secrets.Get(ctx, key, secret); err != nil {
		if operation, is := errors.AsType[*net.OpError](err); is {
			err = operation.Err // without the ephemeral port
		}
		return nil, fmt.Errorf("read Secret %s: %w", key, err)
	}
	return func(name string) ([]byte, error) {
		content, found := secret.Data[name]
		if !found {
			return nil, fmt.Errorf("Secret %s has no key %s: add it", key, name) //nolint:staticcheck // a kind's name
		}
		return content, nil
	}, nil
}
