package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
)

const (
	// pingAfter is the idle time after which an HTTP/2 ping checks a connection. The
	// scheduler closes connections that send pings more than once a minute.
	pingAfter = 75 * time.Second
	// pingTimeout is the timeout for the acknowledgement of a ping and, on Linux, of any
	// data (TCP_USER_TIMEOUT).
	pingTimeout = 20 * time.Second
	// connectTimeout is the timeout for the TCP connection, the TLS handshake and the
	// server's first HTTP/2 frame together.
	connectTimeout = 10 * time.Second
	// receiveLimit is the largest message accepted, in bytes.
	receiveLimit = 16 << 20
	// bufferSize of a connection in each direction, in bytes. Messages are small, and there
	// is a connection for each namespace.
	bufferSize = 8 << 10
)

// dialBackoff is between the attempts of grpc-go to connect.
var dialBackoff = backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 2, Jitter: 0.5, MaxDelay: time.Minute}

// transport establishes the connections of one session, and keeps the reason why the last
// attempt to connect, or the last connection, failed. It is safe for concurrent use.
type transport struct {
	relay     *Relay
	namespace string

	mu   sync.Mutex
	conn *observedConn
	err  error
}

func (r *Relay) newTransport(namespace string) *transport {
	return &transport{relay: r, namespace: namespace}
}

// connect returns a ClientConn that connects at the first call, or by Connect, and again
// after each failure. The caller closes it.
func (t *transport) connect() (*grpc.ClientConn, error) {
	target := t.relay.target(t.namespace)
	if parsed, err := url.Parse(target); err != nil || resolver.Get(parsed.Scheme) == nil {
		// The dialer resolves the name in each attempt. grpc-go's DNS resolver does so every
		// 30 seconds at most, waits up to two minutes after a failure, and needs a goroutine
		// for each session.
		target = "passthrough:///" + target
	}
	base := insecure.NewCredentials()
	if t.relay.options.TLS != nil {
		base = credentials.NewTLS(nil)
	}
	conn, err := grpc.NewClient(target,
		// With a dialer of its own, a ClientConn ignores HTTPS_PROXY.
		grpc.WithContextDialer(t.dial),
		grpc.WithTransportCredentials(&handshaker{TransportCredentials: base, transport: t}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: dialBackoff, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveLimit)),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithUserAgent("seldon-operator"),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
		grpc.WithUnaryInterceptor(t.relay.metrics.unary), grpc.WithStreamInterceptor(t.relay.metrics.stream),
	)
	if err != nil {
		return nil, &disconnectError{ReasonUnavailable, fmt.Errorf("the scheduler's address cannot be used: %w", err)}
	}
	return conn, nil
}

// lastError returns why the last attempt to connect or the last connection failed, as a
// *disconnectError; nil before the first failure and while there is a connection.
func (t *transport) lastError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// fail sets the last error, unless the attempt was canceled by closing the ClientConn.
func (t *transport) fail(ctx context.Context, err error, classify func(error) *disconnectError) {
	if cause := ctx.Err(); cause != nil && !isTimeout(err) {
		err = cause // not the error of the connection that grpc-go closed then
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = classify(err)
	t.relay.options.Log.V(1).Info("connection failed", "namespace", t.namespace, "error", err.Error())
}

// dial establishes a connection to an address that gRPC's resolver returned.
func (t *transport) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := t.relay.dialContext(ctx, address)
	if err != nil {
		t.fail(ctx, err, dialFailure)
		return nil, err
	}
	return conn, nil
}

// dialAddress connects to host:port, resolving the host, or to a socket in the forms that
// grpc-go passes to dialers: unix:path, unix://path, and unix:@name if abstract.
func dialAddress(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if path, found := strings.CutPrefix(address, "unix:"); found {
		network, address = "unix", strings.TrimPrefix(path, "//")
	}
	// HTTP/2 pings replace TCP keepalives.
	dialer := net.Dialer{KeepAlive: -1}
	return dialer.DialContext(ctx, network, address)
}

// handshaker is the TransportCredentials of one session. It uses the relay's current
// certificates for each handshake, and observes the connection.
type handshaker struct {
	credentials.TransportCredentials
	transport *transport
}

// Clone implements [credentials.TransportCredentials]. It returns h, which has no mutable
// state.
func (h *handshaker) Clone() credentials.TransportCredentials { return h }

// ClientHandshake implements [credentials.TransportCredentials].
func (h *handshaker) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t := h.transport
	current := h.TransportCredentials
	if t.relay.options.TLS != nil {
		var err error
		if current, err = t.relay.certificates.current(ctx); err != nil {
			t.fail(ctx, err, func(err error) *disconnectError { return &disconnectError{ReasonCredentials, err} })
			return nil, nil, err
		}
	}
	conn, info, err := current.ClientHandshake(ctx, authority, raw)
	if err != nil {
		t.fail(ctx, err, handshakeFailure)
		return nil, nil, err
	}
	observed := &observedConn{Conn: conn, ctx: ctx, transport: t, failure: plaintextFailure}
	if t.relay.options.TLS != nil {
		observed.failure = handshakeFailure
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = observed
	return observed, info, nil
}

// observedConn sets the last error of its transport by the results of reads. With TLS 1.3,
// only these show that a server rejects the client's certificate.
type observedConn struct {
	net.Conn
	transport *transport
	// ctx of the attempt to connect; it bounds the time until the first byte.
	ctx context.Context
	// failure classifies errors before the first byte.
	failure func(error) *disconnectError
	// responded: the first byte was read. closed: grpc-go has closed the connection.
	responded, closed atomic.Bool
}

func (c *observedConn) Read(buffer []byte) (int, error) {
	n, err := c.Conn.Read(buffer)
	switch {
	case n > 0 && !c.responded.Swap(true):
		if failure := c.transport.checkFirstBytes(buffer[:n]); failure != nil {
			return 0, failure
		}
	case err != nil && !c.responded.Load():
		c.transport.fail(c.ctx, err, c.failure)
	case err != nil && !c.closed.Load():
		c.transport.connectionLost(c, err)
	}
	return n, err
}

// Write ignores errors before the first byte was read: the next read returns the cause,
// such as a TLS alert, whereas grpc-go would report "broken pipe".
func (c *observedConn) Write(content []byte) (int, error) {
	n, err := c.Conn.Write(content)
	if err != nil && !c.responded.Load() {
		return len(content), nil
	}
	return n, err
}

func (c *observedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// checkFirstBytes checks the first bytes from a server: in HTTP/2 they are the header of a
// SETTINGS frame. If they are, it clears the last error, else it sets and returns it.
func (t *transport) checkFirstBytes(first []byte) error {
	const frameType, settings = 3, 0x4 // offset and value in the header
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case bytes.HasPrefix(first, []byte{0x15, 0x03}): // a TLS alert
		t.err = &disconnectError{ReasonTLSHandshakeFailed, errors.New("the server requires TLS: " + adviseTLS)}
	case len(first) > frameType && first[frameType] != settings:
		t.err = &disconnectError{ReasonUnimplemented, errors.New("the server does not use HTTP/2: " + adviseAddress)}
	default:
		t.err = nil
	}
	return t.err
}

// connectionLost sets the last error after the end of the newest connection. A connection
// that a server drains ends after the next one was established, and is ignored.
func (t *transport) connectionLost(conn *observedConn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == conn {
		t.err = &disconnectError{ReasonConnectionLost, errors.New(connectionFailureText(err) + ": " + adviseRepeats)}
	}
}
