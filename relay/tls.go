package relay

import (
	"errors"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TLS locates the operator's certificates. All sessions share the certificates that were
// read; they are at most 10 seconds old when a connection is established, so that a
// rotation, also of the CA, needs no restart. If they cannot be read any more, the last
// ones are used until the operator's certificate expires.
type TLS struct {
	// KeyFile, CertFile and CAFile are the paths of files in PEM or, with Secret, its keys.
	KeyFile, CertFile, CAFile string
	// Secret that contains the three; zero for files.
	Secret client.ObjectKey
	// ServerCAFile has the CA by which the scheduler's certificate is verified, if that is
	// not CAFile: the path of a file or, with ServerSecret, its key.
	ServerCAFile string
	ServerSecret client.ObjectKey
}

// Environment variables that locate the certificates, as of the upstream operator.
const (
	envProtocol     = "CONTROL_PLANE_SECURITY_PROTOCOL"
	envSecret       = "CONTROL_PLANE_CLIENT_TLS_SECRET_NAME"
	envKeyFile      = "CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION"
	envCertFile     = "CONTROL_PLANE_CLIENT_TLS_CRT_LOCATION"
	envCAFile       = "CONTROL_PLANE_CLIENT_TLS_CA_LOCATION"
	envServerSecret = "CONTROL_PLANE_SERVER_TLS_SECRET_NAME"
	envServerCAFile = "CONTROL_PLANE_SERVER_TLS_CA_LOCATION"
)

// TLSFromEnvironment returns the TLS configuration of the environment variables that
// getenv returns ([os.Getenv]); nil for plain text. Secrets are in the given namespace.
// Errors name the variable that is missing or invalid.
func TLSFromEnvironment(getenv func(string) string, namespace string) (*TLS, error) {
	switch protocol := getenv(envProtocol); protocol {
	case "SSL":
	case "", "PLAINTEXT":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s is %q: set it to SSL or PLAINTEXT", envProtocol, protocol)
	}
	var missing []error
	required := func(name string) string {
		value := getenv(name)
		if value == "" {
			missing = append(missing, fmt.Errorf("%s is not set: it is required for TLS", name))
		}
		return value
	}
	t := &TLS{KeyFile: required(envKeyFile), CertFile: required(envCertFile), CAFile: required(envCAFile)}
	t.ServerCAFile = getenv(envServerCAFile)
	if name := getenv(envSecret); name != "" {
		t.Secret = client.ObjectKey{Namespace: namespace, Name: name}
		t.KeyFile, t.CertFile, t.CAFile = filepath.Base(t.KeyFile), filepath.Base(t.CertFile), filepath.Base(t.CAFile)
	}
	if name := getenv(envServerSecret); name != "" {
		t.ServerSecret = client.ObjectKey{Namespace: namespace, Name: name}
		t.ServerCAFile = filepath.Base(required(envServerCAFile))
	}
	if (t.Secret.Name != "" || t.ServerSecret.Name != "") && namespace == "" {
		missing = append(missing, errors.New("POD_NAMESPACE is not set: it is the namespace of the Secrets with certificates"))
	}
	return t, errors.Join(missing...)
}
