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

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// certificatesMaxAge is how long certificates, or the error of reading them, are
	// used for new connections before they are read again.
	certificatesMaxAge = 10 * time.Second
	// certificatesTimeout of reading them, Secrets included.
	certificatesTimeout = 5 * time.Second
)

// certificateCache reads the certificates of [TLS] for all sessions of a relay, so
// that they cost the API server one GET of each Secret in 10 seconds, however many
// sessions there are. It is safe for concurrent use.
type certificateCache struct {
	relay *Relay
	reads singleflight.Group

	// What follows is used by the single read that runs.

	// readAt is when the last read ended; err is its error.
	readAt time.Time
	err    error
	// valid are the last credentials that could be read; validUntil is the end of the
	// client certificate's validity.
	valid      credentials.TransportCredentials
	validUntil time.Time
}

// current returns credentials that were read within the last 10 seconds. If that
// fails, it returns the last ones until the client certificate expires, and then the
// error. It waits for ctx and 5 seconds at most.
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

func (c *certificateCache) refresh() (credentials.TransportCredentials, error) {
	if c.readAt.IsZero() || time.Since(c.readAt) >= certificatesMaxAge {
		// Not with the context of a session: others wait for the same read.
		ctx, cancel := context.WithTimeout(c.relay.lifetime, certificatesTimeout)
		defer cancel()
		config, err := c.relay.TLS.read(ctx, c.relay.APIReader)
		if err == nil {
			c.valid, c.validUntil = credentials.NewTLS(config), config.Certificates[0].Leaf.NotAfter
		} else if c.err == nil || c.err.Error() != err.Error() {
			c.relay.Log.Error(err, "read the certificates for schedulers", "previousUsedUntil", c.validUntil)
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
	open, err := t.source(ctx, secrets, t.Secret)
	if err != nil {
		return nil, err
	}
	key, err := open(t.Key)
	if err != nil {
		return nil, err
	}
	certificate, err := open(t.Certificate)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", t.Certificate, t.Key, err)
	}
	name := t.Authority
	if t.ServerAuthority != "" {
		name = t.ServerAuthority
		if t.ServerSecret != t.Secret {
			if open, err = t.source(ctx, secrets, t.ServerSecret); err != nil {
				return nil, err
			}
		}
	}
	authority, err := open(name)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("authority %s, which schedulers are checked by, has no certificate in PEM", name)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// source returns a function that reads keys of a Secret, or files if the Secret has
// no name.
func (t *TLS) source(ctx context.Context, secrets client.Reader, key client.ObjectKey) (func(name string) ([]byte, error), error) {
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
			return nil, fmt.Errorf("Secret %s has no key %s", key, name) //nolint:staticcheck // a kind's name
		}
		return content, nil
	}, nil
}
