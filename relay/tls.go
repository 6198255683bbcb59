package relay

import (
	"errors"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TLS is where the operator's certificates are. All sessions share what was read of
// them; it is at most 10 seconds old when a connection is made, so that new ones, of
// the authority too, need no restart. If they cannot be read any more, those known
// are used for as long as the operator's certificate is valid.
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

// Environment variables that say where the certificates are; those of the upstream
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
