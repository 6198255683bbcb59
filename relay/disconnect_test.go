package relay

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Every fault that a real peer causes has a reason, and a message that is equal for all
// attempts.
func TestDisconnectReasons(t *testing.T) {
	ca, otherCA := newTestCA(t), newTestCA(t)
	withTLS := func(config *tls.Config) func(*testing.T) string {
		return func(t *testing.T) string {
			return serveGRPC(t, listen(t, "tcp", "localhost:0"), respondStatus(codes.OK), grpc.Creds(credentials.NewTLS(config)))
		}
	}
	plain := func(handle func(grpc.ServerStream) error) func(*testing.T) string {
		return func(t *testing.T) string { return serveGRPC(t, listen(t, "tcp", "localhost:0"), handle) }
	}
	raw := func(serve func(net.Conn)) func(*testing.T) string {
		return func(t *testing.T) string { return serveRaw(t, serve) }
	}
	send := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	onlyHTTP1 := func(p *http.Protocols) { p.SetHTTP1(true) }
	onlyHTTP2 := func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }
	closeAtOnce := func(net.Conn) {}
	for name, test := range map[string]struct {
		serve   func(*testing.T) string
		tls     bool
		reason  string
		message string // or its beginning, with * at the end
	}{
		"connection refused": {
			serve: func(t *testing.T) string {
				listener := listen(t, "tcp", "localhost:0")
				_ = listener.Close()
				return clientAddress(listener)
			},
			reason:  ReasonUnavailable,
			message: "connection refused: check the scheduler's Pods and Service, and network policies",
		},
		"no socket": {
			serve:   func(t *testing.T) string { return "unix:" + filepath.Join(t.TempDir(), "none") },
			reason:  ReasonUnavailable,
			message: "no such file or directory: check the scheduler's Pods and Service, and network policies",
		},
		"unknown host": {
			// Without a DNS server, the end of the message differs.
			serve:  func(*testing.T) string { return "x.invalid:9004" },
			reason: ReasonNameNotResolved, message: "resolve x.invalid: *",
		},
		"unknown host by gRPC's resolver": {
			serve:  func(*testing.T) string { return "dns:///x.invalid:9004" },
			reason: ReasonNameNotResolved, message: "name resolver error: *",
		},
		"closed immediately": {
			serve: raw(closeAtOnce), reason: ReasonUnavailable,
			message: "the server closed the connection before it sent anything: check the scheduler's Pods and Service, and network policies; " +
				"if it requires TLS, set CONTROL_PLANE_SECURITY_PROTOCOL=SSL for the operator",
		},
		"plaintext to a scheduler with TLS": {
			serve: withTLS(ca.serverConfig(t, testCertificate{})), reason: ReasonUnavailable,
			message: "the server closed the connection before it sent anything: check the scheduler's Pods and Service, and network policies; " +
				"if it requires TLS, set CONTROL_PLANE_SECURITY_PROTOCOL=SSL for the operator",
		},
		"plaintext to a server that responds with a TLS alert": {
			serve: raw(send("\x15\x03\x01\x00\x02\x02\x46")), reason: ReasonTLSHandshakeFailed,
			message: "the server requires TLS: set CONTROL_PLANE_SECURITY_PROTOCOL=SSL for the operator",
		},
		"TLS to a scheduler without": {
			serve: plain(respondStatus(codes.OK)), tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the server does not use TLS: set CONTROL_PLANE_SECURITY_PROTOCOL=PLAINTEXT for the operator, or enable TLS in the scheduler",
		},
		"TLS to a server that closes immediately": {
			serve: raw(closeAtOnce), tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the server closed the connection during the TLS handshake: check the scheduler's log",
		},
		"unknown authority": {
			serve: withTLS(otherCA.serverConfig(t, testCertificate{})), tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler's certificate is signed by unknown authority: configure the CA of that certificate for the operator",
		},
		"expired": {
			serve: withTLS(ca.serverConfig(t, testCertificate{expired: true})), tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler's certificate has expired or is not yet valid: renew it, and check the clocks",
		},
		"another name": {
			serve: withTLS(ca.serverConfig(t, testCertificate{name: "other"})), tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler's certificate is valid for other, not localhost: issue a certificate for that name",
		},
		"a certificate that the scheduler does not trust": {
			serve: func(t *testing.T) string {
				config := ca.serverConfig(t, testCertificate{})
				config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, otherCA.pool()
				return withTLS(config)(t)
			},
			tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler rejects the TLS handshake (tls: unknown certificate authority): check that it trusts the CA of the operator's certificate, and that the certificate is valid",
		},
		"a certificate that the scheduler does not trust, with TLS 1.2": {
			serve: func(t *testing.T) string {
				config := ca.serverConfig(t, testCertificate{})
				config.ClientAuth, config.ClientCAs, config.MaxVersion = tls.RequireAndVerifyClientCert, otherCA.pool(), tls.VersionTLS12
				return withTLS(config)(t)
			},
			tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler rejects the TLS handshake (tls: unknown certificate authority): check that it trusts the CA of the operator's certificate, and that the certificate is valid",
		},
		"a TLS server without HTTP/2": {
			serve: func(t *testing.T) string {
				server := httptest.NewUnstartedServer(http.NotFoundHandler())
				server.TLS = ca.serverConfig(t, testCertificate{})
				server.StartTLS()
				t.Cleanup(server.Close)
				return clientAddress(server.Listener)
			},
			tls: true, reason: ReasonTLSHandshakeFailed,
			message: "the scheduler rejects the TLS handshake (tls: no application protocol): check that it trusts the CA of the operator's certificate, and that the certificate is valid",
		},
		"HTTP/1": {
			serve:  func(t *testing.T) string { return serveHTTP(t, onlyHTTP1, http.StatusOK) },
			reason: ReasonUnimplemented, message: "the server does not use HTTP/2: check that the address and port are the scheduler's",
		},
		"another protocol": {
			serve:  raw(send("SSH-2.0-OpenSSH_9.9\r\n")),
			reason: ReasonUnimplemented, message: "the server does not use HTTP/2: check that the address and port are the scheduler's",
		},
		"HTTP/2, 404": {
			serve:  func(t *testing.T) string { return serveHTTP(t, onlyHTTP2, http.StatusNotFound) },
			reason: ReasonUnimplemented,
			message: `the server is not a scheduler (unexpected HTTP status code received from server: 404 (Not Found); ` +
				`transport: received unexpected content-type "text/html"): check that the address and port are the scheduler's`,
		},
		"HTTP/2, 200": {
			serve:  func(t *testing.T) string { return serveHTTP(t, onlyHTTP2, http.StatusOK) },
			reason: ReasonUnimplemented,
			message: `the server is not a scheduler (unexpected HTTP status code received from server: 200 (OK); ` +
				`transport: received unexpected content-type "text/html"): check that the address and port are the scheduler's`,
		},
		"HTTP/2, 403": {
			serve:  func(t *testing.T) string { return serveHTTP(t, onlyHTTP2, http.StatusForbidden) },
			reason: ReasonPermissionDenied, message: "the server rejects the operator's calls (PermissionDenied: unexpected HTTP status code *",
		},
		"HTTP/2, 503": {
			serve:  func(t *testing.T) string { return serveHTTP(t, onlyHTTP2, http.StatusServiceUnavailable) },
			reason: ReasonUnavailable, message: "unexpected HTTP status code received from server: 503 (Service Unavailable)*",
		},
		"PermissionDenied": {
			serve: plain(respondStatus(codes.PermissionDenied)), reason: ReasonPermissionDenied,
			message: "the server rejects the operator's calls (PermissionDenied: no): check the authorization policies between the operator and the scheduler",
		},
		"Unauthenticated": {
			serve: plain(respondStatus(codes.Unauthenticated)), reason: ReasonPermissionDenied,
			message: "the server rejects the operator's calls (Unauthenticated: no): check the authorization policies between the operator and the scheduler",
		},
		"another gRPC server": {
			serve: func(t *testing.T) string {
				listener, server := listen(t, "tcp", "localhost:0"), grpc.NewServer()
				go func() { _ = server.Serve(listener) }()
				t.Cleanup(server.Stop)
				return clientAddress(listener)
			},
			reason:  ReasonUnimplemented,
			message: "the server is not a scheduler (unknown service seldon.mlops.scheduler.Scheduler): check that the address and port are the scheduler's",
		},
		"Unavailable":   {serve: plain(respondStatus(codes.Unavailable)), reason: ReasonUnavailable, message: "no: check the scheduler's Pods and Service, and network policies"},
		"end of stream": {serve: plain(respondStatus(codes.OK)), reason: ReasonConnectionLost, message: "the scheduler ended a stream: the operator reconnects; if this repeats, check the scheduler's log"},
		"a break": {
			serve: func(t *testing.T) string {
				var server *grpc.Server
				listener := listen(t, "tcp", "localhost:0")
				server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
					_ = stream.SendMsg(&pb.ControlPlaneResponse{})
					go server.Stop()
					<-stream.Context().Done()
					return nil
				}))
				go func() { _ = server.Serve(listener) }()
				return clientAddress(listener)
			},
			reason: ReasonConnectionLost, message: "the server closed the connection: the operator reconnects; if this repeats, check the scheduler's log",
		},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 3
			if name == "a break" {
				attempts = 1
			}
			options := Options{Address: test.serve(t), Log: logr.Discard()}
			if test.tls {
				options.TLS = ca.files(t)
			}
			relay := New(t.Context(), options)
			for range attempts {
				transport := relay.newTransport("team")
				err := subscribe(t, mustConnect(t, transport))
				reason, message := classifyDisconnect(err, transport.lastError())
				matches := message == test.message
				if beginning, found := strings.CutSuffix(test.message, "*"); found {
					matches = strings.HasPrefix(message, beginning)
				}
				if reason != test.reason || !matches {
					t.Errorf("%s: %s\nwant %s: %s\nerror: %v\ntransport's error: %v", reason, message, test.reason, test.message, err, transport.lastError())
				}
			}
		})
	}
}

// slowConn delays reads more than writes, so that a write fails, because the server
// has closed the connection, before its last message is read.
type slowConn struct{ net.Conn }

func (c slowConn) Read(buffer []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return c.Conn.Read(buffer)
}

func (c slowConn) Write(content []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return c.Conn.Write(content)
}

// A rejected certificate is reported as the reason even if a write fails before the
// server's alert is read.
func TestRejectedBeforeTheLastWrite(t *testing.T) {
	ca := newTestCA(t)
	config := ca.serverConfig(t, testCertificate{})
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, newTestCA(t).pool()
	relay := New(t.Context(), Options{
		Address: serveGRPC(t, listen(t, "tcp", "localhost:0"), respondStatus(codes.OK), grpc.Creds(credentials.NewTLS(config))),
		TLS:     ca.files(t), Log: logr.Discard(),
	})
	relay.dialContext = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dialAddress(ctx, address)
		return slowConn{conn}, err
	}
	transport := relay.newTransport("team")
	err := subscribe(t, mustConnect(t, transport))
	reason, message := classifyDisconnect(err, transport.lastError())
	if reason != ReasonTLSHandshakeFailed || !strings.HasPrefix(message, "the scheduler rejects the TLS handshake (tls: unknown certificate authority)") {
		t.Errorf("%s: %s", reason, message)
	}
}

// Servers that do not respond are detected after the timeout for connections.
func TestNoResponse(t *testing.T) {
	ca := newTestCA(t)
	pipe := func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		return near, nil
	}
	for name, test := range map[string]struct {
		dial    func(context.Context, string) (net.Conn, error)
		tls     bool
		reason  string
		message string
	}{
		"no response to SYN": {
			dial: func(ctx context.Context, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
			},
			reason: ReasonNoResponse, message: "no response to the attempt to connect: check the scheduler's Pods and Service, and network policies",
		},
		"no response of DNS": {
			dial: func(ctx context.Context, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.DNSError{Name: "seldon-scheduler.team", Err: "read udp 10.0.0.1:43210->10.0.0.10:53: i/o timeout", IsTimeout: true}
			},
			reason: ReasonNameNotResolved, message: "resolve seldon-scheduler.team: no response from the DNS server: check the cluster's DNS",
		},
		"no HTTP/2":       {dial: pipe, reason: ReasonNoResponse, message: "the server accepts connections and sends nothing: check the scheduler's log"},
		"no TLS response": {dial: pipe, tls: true, reason: ReasonNoResponse, message: "no response to the TLS handshake: check the scheduler's log"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := Options{Log: logr.Discard()}
				if test.tls {
					options.TLS = ca.files(t)
				}
				relay := New(t.Context(), options)
				relay.dialContext = test.dial
				transport := relay.newTransport("team")
				begin := time.Now()
				err := subscribe(t, mustConnect(t, transport))
				if took := time.Since(begin); took != 10*time.Second {
					t.Errorf("detected after %s", took)
				}
				reason, message := classifyDisconnect(err, transport.lastError())
				if reason != test.reason || message != test.message {
					t.Errorf("%s: %s", reason, message)
				}
			})
		})
	}
}
