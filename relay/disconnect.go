package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Further reasons of [ConnectionStatus.Reason].
const (
	// ReasonNameNotResolved: the host name in the scheduler's address has no address.
	ReasonNameNotResolved = "NameNotResolved"
	// ReasonTLSHandshakeFailed: one side does not accept the other's certificate, or
	// only one of them uses TLS.
	ReasonTLSHandshakeFailed = "TLSHandshakeFailed"
	// ReasonPermissionDenied: the server rejects the operator's calls.
	ReasonPermissionDenied = "PermissionDenied"
	// ReasonUnimplemented: a server other than a scheduler listens at the address.
	ReasonUnimplemented = "Unimplemented"
)

// Remedies at the end of messages.
const (
	advisePod     = "check the scheduler's Pods and Service, and network policies"
	adviseAddress = "check that the address and port are the scheduler's"
	adviseTLS     = "set " + envProtocol + "=SSL for the operator"
	advisePlain   = "set " + envProtocol + "=PLAINTEXT for the operator, or enable TLS in the scheduler"
	adviseAccess  = "check the authorization policies between the operator and the scheduler"
	adviseDNS     = "check the cluster's DNS"
	adviseLog     = "check the scheduler's log"
	adviseRepeats = "the operator reconnects; if this repeats, check the scheduler's log"
)

// disconnectError is the reason why a session has no connection. The error's text is a
// condition's message: it is equal for all attempts that fail in the same way, without
// ephemeral ports, times and serial numbers.
type disconnectError struct {
	reason string
	err    error
}

func (e *disconnectError) Error() string { return e.err.Error() }
func (e *disconnectError) Unwrap() error { return e.err }

// classifyDisconnect returns the reason and message of the condition
// SchedulerReachable for an error of a call or stream, and the transport's last
// error, which is nil if the connection did not fail.
func classifyDisconnect(err, transportErr error) (reason, message string) {
	if known, is := errors.AsType[*disconnectError](err); is {
		return known.reason, known.Error()
	}
	code, message := status.Code(err), conditionMessage(err)
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated:
		return ReasonPermissionDenied, fmt.Sprintf("the server rejects the operator's calls (%s: %s): %s", code, message, adviseAccess)
	case codes.Unimplemented:
		return ReasonUnimplemented, fmt.Sprintf("the server is not a scheduler (%s): %s", message, adviseAddress)
	default:
	}
	if known, is := errors.AsType[*disconnectError](transportErr); is {
		return known.reason, known.Error()
	}
	switch {
	case code == codes.DeadlineExceeded:
		return ReasonNoResponse, fmt.Sprintf("no response to a call (%s): %s", message, adviseLog)
	// grpc-go reports the following errors by their text only.
	case strings.HasPrefix(message, "unexpected HTTP status code") && code != codes.Unavailable:
		return ReasonUnimplemented, fmt.Sprintf("the server is not a scheduler (%s): %s", message, adviseAddress)
	case strings.HasPrefix(message, "name resolver error"):
		return ReasonNameNotResolved, message + ": " + adviseAddress
	case strings.Contains(message, "keepalive ping failed"):
		return ReasonConnectionLost, "no response to an HTTP/2 ping: " + advisePod
	case code == codes.Unavailable:
		return ReasonUnavailable, message + ": " + advisePod
	default:
		return ReasonConnectionLost, message + ": " + adviseRepeats
	}
}

// dialFailure classifies an error of resolving a name or connecting to an address.
func dialFailure(err error) *disconnectError {
	failure := func(reason, format string, arguments ...any) *disconnectError {
		return &disconnectError{reason, fmt.Errorf(format, arguments...)}
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return failure(ReasonNameNotResolved, "resolve %s: no such host: check that the Service exists", dns.Name)
	case isDNS && dns.IsTimeout:
		return failure(ReasonNameNotResolved, "resolve %s: no response from the DNS server: %s", dns.Name, adviseDNS)
	case isDNS:
		return failure(ReasonNameNotResolved, "resolve %s: the DNS server failed: %s", dns.Name, adviseDNS)
	case isTimeout(err):
		return failure(ReasonNoResponse, "no response to the attempt to connect: %s", advisePod)
	default:
		return failure(ReasonUnavailable, "%s: %s", connectionFailureText(err), advisePod)
	}
}

// plaintextFailure classifies an error of a connection without TLS on which the
// server has not sent anything.
func plaintextFailure(err error) *disconnectError {
	if isTimeout(err) {
		return &disconnectError{ReasonNoResponse, errors.New("the server accepts connections and sends nothing: " + adviseLog)}
	}
	return &disconnectError{ReasonUnavailable, fmt.Errorf("%s before it sent anything: %s; if it requires TLS, %s", connectionFailureText(err), advisePod, adviseTLS)}
}

// handshakeFailure classifies an error of a connection with TLS on which the server
// has not sent application data.
func handshakeFailure(err error) *disconnectError {
	failure := func(format string, arguments ...any) *disconnectError {
		return &disconnectError{ReasonTLSHandshakeFailed, fmt.Errorf(format, arguments...)}
	}
	if isTimeout(err) {
		return &disconnectError{ReasonNoResponse, errors.New("no response to the TLS handshake: " + adviseLog)}
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is {
		return failure("the server does not use TLS: %s", advisePlain)
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return failure("the scheduler's certificate is signed by unknown authority: configure the CA of that certificate for the operator")
	}
	if name, is := errors.AsType[x509.HostnameError](err); is {
		return failure("the scheduler's %s: issue a certificate for that name", strings.TrimPrefix(name.Error(), "x509: "))
	}
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired {
		return failure("the scheduler's certificate has expired or is not yet valid: renew it, and check the clocks")
	}
	if alert, is := errors.AsType[*net.OpError](err); is && alert.Op == "remote error" {
		return failure("the scheduler rejects the TLS handshake (%s): check that it trusts the CA of the operator's certificate, and that the certificate is valid", alert.Err)
	}
	return failure("%s during the TLS handshake: %s", connectionFailureText(err), adviseLog)
}

func isTimeout(err error) bool {
	timeout, is := errors.AsType[net.Error](err)
	return is && timeout.Timeout()
}

// connectionFailureText returns the text of an error without the addresses and ports of
// [net.OpError]. Which error the peer's end causes only depends on timing.
func connectionFailureText(err error) string {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, closed) {
			return "the server closed the connection"
		}
	}
	if number, is := errors.AsType[syscall.Errno](err); is {
		return number.Error()
	}
	if operation, is := errors.AsType[*net.OpError](err); is {
		return operation.Err.Error()
	}
	return err.Error()
}
