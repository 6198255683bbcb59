package relay_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/relay"
)

func TestTLSFromEnvironment(t *testing.T) {
	files := map[string]string{
		"CONTROL_PLANE_SECURITY_PROTOCOL":       "SSL",
		"CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION": "/tls/tls.key",
		"CONTROL_PLANE_CLIENT_TLS_CRT_LOCATION": "/tls/tls.crt",
		"CONTROL_PLANE_CLIENT_TLS_CA_LOCATION":  "/tls/ca.crt",
	}
	for _, test := range []struct {
		name      string
		change    map[string]string
		namespace string
		want      *relay.TLS
		err       string
	}{
		{name: "plain text by default", change: map[string]string{"CONTROL_PLANE_SECURITY_PROTOCOL": ""}},
		{name: "plain text by name", change: map[string]string{"CONTROL_PLANE_SECURITY_PROTOCOL": "PLAINTEXT"}},
		{name: "an unknown protocol", change: map[string]string{"CONTROL_PLANE_SECURITY_PROTOCOL": "ssl"},
			err: `CONTROL_PLANE_SECURITY_PROTOCOL is "ssl": set it to SSL or PLAINTEXT`},
		{name: "files", want: &relay.TLS{KeyFile: "/tls/tls.key", CertFile: "/tls/tls.crt", CAFile: "/tls/ca.crt"}},
		{name: "another authority for the scheduler", change: map[string]string{"CONTROL_PLANE_SERVER_TLS_CA_LOCATION": "/server/ca.crt"},
			want: &relay.TLS{KeyFile: "/tls/tls.key", CertFile: "/tls/tls.crt", CAFile: "/tls/ca.crt", ServerCAFile: "/server/ca.crt"}},
		{name: "Secrets", namespace: "seldon-system", change: map[string]string{
			"CONTROL_PLANE_CLIENT_TLS_SECRET_NAME": "client", "CONTROL_PLANE_SERVER_TLS_SECRET_NAME": "server",
			"CONTROL_PLANE_SERVER_TLS_CA_LOCATION": "/server/ca.crt",
		}, want: &relay.TLS{
			KeyFile: "tls.key", CertFile: "tls.crt", CAFile: "ca.crt", Secret: client.ObjectKey{Namespace: "seldon-system", Name: "client"},
			ServerCAFile: "ca.crt", ServerSecret: client.ObjectKey{Namespace: "seldon-system", Name: "server"},
		}},
		{name: "a Secret, and no namespace", change: map[string]string{"CONTROL_PLANE_CLIENT_TLS_SECRET_NAME": "client"},
			err: "POD_NAMESPACE is not set: it is the namespace of the Secrets with certificates"},
		{name: "nothing but the protocol", change: map[string]string{
			"CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION": "", "CONTROL_PLANE_CLIENT_TLS_CA_LOCATION": "",
		}, err: "CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION is not set: it is required for TLS\nCONTROL_PLANE_CLIENT_TLS_CA_LOCATION is not set: it is required for TLS"},
		{name: "the scheduler's Secret without its key", namespace: "seldon-system", change: map[string]string{"CONTROL_PLANE_SERVER_TLS_SECRET_NAME": "server"},
			err: "CONTROL_PLANE_SERVER_TLS_CA_LOCATION is not set: it is required for TLS"},
	} {
		got, err := relay.TLSFromEnvironment(func(name string) string {
			if value, changed := test.change[name]; changed {
				return value
			}
			return files[name]
		}, test.namespace)
		switch {
		case test.err != "":
			if err == nil || err.Error() != test.err {
				t.Errorf("%s: error %v, want %s", test.name, err, test.err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case !cmp.Equal(got, test.want):
			t.Errorf("%s:\n%s", test.name, cmp.Diff(test.want, got))
		}
	}
}
