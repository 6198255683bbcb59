package scheduler

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TLS says where the operator's certificates are. They are read for each
// connection, so that new ones, of the authority too, need no restart.
type TLS struct {
	// Key, Certificate and Authority are files, or with Secret its keys.
	Key, Certificate, Authority string
	// Secret with the three, if any.
	Secret client.ObjectKey
	// ServerAuthority is what the scheduler's certificate is checked by, if not by
	// Authority: a file, or with ServerSecret its key.
	ServerAuthority string
	ServerSecret    client.ObjectKey
}

// Environment variables that say where the certificates are; those of the existing
// operator.
const (
	envProtocol     = "CONTROL_PLANE_SECURITY_PROTOCOL"
	envSecret       = "CONTROL_PLANE_CLIENT_TLS_SECRET_NAME"
	envKey          = "CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION"
	envCertificate  = "CONTROL_PLANE_CLIENT_TLS_CRT_LOCATION"
	envAuthority    = "CONTROL_PLANE_CLIENT_TLS_CA_LOCATION"
	envServerSecret = "CONTROL_PLANE_SERVER_TLS_SECRET_NAME"
	envServerCA     = "CONTROL_PLANE_SERVER_TLS_CA_LOCATION"
)

// TLSFromEnvironment reads the environment variables by getenv, which is
// [os.Getenv] outside of tests. It gives nil for plain text. Secrets are in the
// namespace given. Errors name the variable that is missing or wrong.
func TLSFromEnvironment(getenv func(string) string, namespace string) (*TLS, error) {
	switch protocol := getenv(envProtocol); protocol {
	case "SSL":
	case "", "PLAINTEXT":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s is %q: give SSL or PLAINTEXT", envProtocol, protocol)
	}
	var missing []error
	required := func(name string) string {
		value := getenv(name)
		if value == "" {
			missing = append(missing, fmt.Errorf("%s is not set: TLS needs it", name))
		}
		return value
	}
	t := &TLS{Key: required(envKey), Certificate: required(envCertificate), Authority: required(envAuthority)}
	t.ServerAuthority = getenv(envServerCA)
	if name := getenv(envSecret); name != "" {
		t.Secret = client.ObjectKey{Namespace: namespace, Name: name}
		t.Key, t.Certificate, t.Authority = filepath.Base(t.Key), filepath.Base(t.Certificate), filepath.Base(t.Authority)
	}
	if name := getenv(envServerSecret); name != "" {
		t.ServerSecret = client.ObjectKey{Namespace: namespace, Name: name}
		t.ServerAuthority = filepath.Base(required(envServerCA))
	}
	if (t.Secret.Name != "" || t.ServerSecret.Name != "") && namespace == "" {
		missing = append(missing, errors.New("POD_NAMESPACE is not set: Secrets with certificates are looked up there"))
	}
	return t, errors.Join(missing...)
}

// credentials reads the certificates.
func (t *TLS) credentials(ctx context.Context, secrets client.Reader) (credentials.TransportCredentials, error) {
	own, err := t.source(ctx, secrets, t.Secret)
	if err != nil {
		return nil, err
	}
	key, err := own(t.Key)
	if err != nil {
		return nil, err
	}
	certificate, err := own(t.Certificate)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", t.Certificate, t.Key, err)
	}
	authority, err := t.authority(ctx, secrets, own)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("the authority that schedulers are checked by has no certificate in PEM")
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12,
	}), nil
}

// authority is what the scheduler's certificate is checked by.
func (t *TLS) authority(ctx context.Context, secrets client.Reader, own func(string) ([]byte, error)) ([]byte, error) {
	if t.ServerAuthority == "" {
		return own(t.Authority)
	}
	theirs, err := t.source(ctx, secrets, t.ServerSecret)
	if err != nil {
		return nil, err
	}
	return theirs(t.ServerAuthority)
}

// source reads from a Secret, by its name alone, or from files if it has none.
func (t *TLS) source(ctx context.Context, secrets client.Reader, key client.ObjectKey) (func(name string) ([]byte, error), error) {
	if key.Name == "" {
		return os.ReadFile, nil
	}
	secret := &corev1.Secret{}
	if err := secrets.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	return func(name string) ([]byte, error) {
		content, found := secret.Data[name]
		if !found {
			return nil, fmt.Errorf("Secret %s has no key %s", key, name) //nolint:staticcheck // a kind's name
		}
		return content, nil
	}, nil
}
