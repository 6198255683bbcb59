package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// subscribe connects, unless conn is connected, and reads from a stream until it
// fails or ends, as a session does.
func subscribe(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	stream, err := pb.NewSchedulerClient(conn).SubscribeControlPlane(t.Context(), &pb.ControlPlaneSubscriptionRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return err
}

func mustConnect(t *testing.T, transport *transport) *grpc.ClientConn {
	t.Helper()
	conn, err := transport.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// serveGRPC serves on a listener; every stream sends one message and returns what
// handle returns. It returns the address for clients.
func serveGRPC(t *testing.T, listener net.Listener, handle func(grpc.ServerStream) error, options ...grpc.ServerOption) string {
	t.Helper()
	server := grpc.NewServer(append(options, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return handle(stream) }))...)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return clientAddress(listener)
}

func respondStatus(code codes.Code) func(grpc.ServerStream) error {
	return func(grpc.ServerStream) error { return status.Error(code, "no") }
}

func clientAddress(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "localhost:" + port
}

// serveRaw runs a function for each connection, and then closes it.
func serveRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener := listen(t, "tcp", "localhost:0")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			}()
		}
	}()
	return clientAddress(listener)
}

func serveHTTP(t *testing.T, protocols func(*http.Protocols), status int) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
	}))
	server.Config.Protocols = new(http.Protocols)
	protocols(server.Config.Protocols)
	server.Start()
	t.Cleanup(server.Close)
	return clientAddress(server.Listener)
}

// A ClientConn that is kept shows the latest error, and none after it has connected;
// the name is resolved in each attempt, so that it connects within seconds of a
// scheduler's start.
func TestLatestError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 16)
		connected := make(chan string, 1)
		serveGRPC(t, listener, func(stream grpc.ServerStream) error {
			md, _ := metadata.FromIncomingContext(stream.Context())
			connected <- md.Get(":authority")[0] + " " + md.Get("user-agent")[0]
			<-stream.Context().Done()
			return nil
		})
		faults := []error{
			&net.DNSError{Name: "seldon-scheduler.team", IsNotFound: true},
			&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		}
		relay := New(t.Context(), Options{Log: logr.Discard()})
		relay.dialContext = func(ctx context.Context, address string) (net.Conn, error) {
			if address != "seldon-scheduler.team:9004" {
				t.Errorf("dial %s", address)
			}
			if len(faults) == 0 {
				return listener.DialContext(ctx)
			}
			fault := faults[0]
			faults = faults[1:]
			return nil, fault
		}
		transport := relay.newTransport("team")
		if err := transport.lastError(); err != nil {
			t.Error("an error before the first attempt:", err)
		}
		conn, err := transport.connect()
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for _, want := range []string{ReasonNameNotResolved, ReasonUnavailable} {
			conn.Connect()
			synctest.Wait()
			if reason, _ := classifyDisconnect(status.Error(codes.Unavailable, ""), transport.lastError()); reason != want {
				t.Errorf("%s, want %s", reason, want)
			}
			time.Sleep(750 * time.Millisecond)
		}
		time.Sleep(1500 * time.Millisecond)
		conn.Connect()
		stream, err := pb.NewSchedulerClient(conn).SubscribeControlPlane(t.Context(), &pb.ControlPlaneSubscriptionRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := <-connected, "seldon-scheduler.team:9004 seldon-operator"; !strings.HasPrefix(got, want) {
			t.Errorf("authority and user agent %s, want %s", got, want)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("connected after %s", took)
		}
		if err := transport.lastError(); err != nil {
			t.Error("an error while it is connected:", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if _, err := stream.Recv(); err == nil || transport.lastError() != nil {
			t.Errorf("closing leaves %v", transport.lastError())
		}
	})
}

// The end of a connection that is not the newest any more, or that is closed by the
// session, is not a failure.
func TestNoErrorOfOldConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listeners := make(chan *bufconn.Listener, 2)
		start := func() *grpc.Server {
			listener, server := bufconn.Listen(1<<16), grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
				<-stream.Context().Done()
				return nil
			}))
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(server.Stop)
			listeners <- listener
			return server
		}
		old := start()
		start()
		relay := New(t.Context(), Options{Log: logr.Discard()})
		relay.dialContext = func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case listener := <-listeners:
				return listener.DialContext(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		transport := relay.newTransport("team")
		conn, err := transport.connect()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewSchedulerClient(conn).SubscribeControlPlane(t.Context(), &pb.ControlPlaneSubscriptionRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go old.GracefulStop() // it waits for the stream
		synctest.Wait()
		conn.Connect()
		synctest.Wait()
		if len(listeners) != 0 || transport.lastError() != nil {
			t.Fatalf("not connected to the other server: %v", transport.lastError())
		}
		old.Stop()
		synctest.Wait()
		if err := transport.lastError(); err != nil {
			t.Error("the end of the old connection:", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}

		conn, err = transport.connect()
		if err != nil {
			t.Fatal(err)
		}
		conn.Connect()
		synctest.Wait()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := transport.lastError(); err != nil {
			t.Error("the end of an attempt:", err)
		}
	})
}

// lossyConn drops what is written once it is broken.
type lossyConn struct {
	net.Conn
	broken *atomic.Bool
}

func (c lossyConn) Write(content []byte) (int, error) {
	if c.broken.Load() {
		return len(content), nil
	}
	return c.Conn.Write(content)
}

// A half-open connection is detected by a ping.
func TestNoResponseToPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, broken := bufconn.Listen(1<<16), new(atomic.Bool)
		serveGRPC(t, listener, func(stream grpc.ServerStream) error {
			broken.Store(true)
			<-stream.Context().Done()
			return nil
		})
		relay := New(t.Context(), Options{Log: logr.Discard()})
		relay.dialContext = func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := listener.DialContext(ctx)
			return lossyConn{conn, broken}, err
		}
		transport := relay.newTransport("team")
		begin := time.Now()
		err := subscribe(t, mustConnect(t, transport))
		if took := time.Since(begin); took != 95*time.Second {
			t.Errorf("detected after %s", took)
		}
		if reason, message := classifyDisconnect(err, transport.lastError()); reason != ReasonConnectionLost || !strings.HasPrefix(message, "no response to an HTTP/2 ping") {
			t.Errorf("%s: %s", reason, message)
		}
	})
}

// Targets with a scheme are resolved by gRPC.
func TestTargets(t *testing.T) {
	folder := t.TempDir()
	socket := listen(t, "unix", filepath.Join(folder, "team"))
	serveGRPC(t, socket, respondStatus(codes.Aborted))
	abstract := listen(t, "unix", "\x00"+folder)
	serveGRPC(t, abstract, respondStatus(codes.Aborted))
	tcp := serveGRPC(t, listen(t, "tcp", "localhost:0"), respondStatus(codes.Aborted))
	for _, address := range []string{
		tcp, "dns:///" + tcp, "passthrough:///" + tcp,
		"unix:" + folder + "/{namespace}", "unix://" + folder + "/{namespace}", "unix-abstract:" + folder,
	} {
		relay := New(t.Context(), Options{Address: address, Log: logr.Discard()})
		if err := subscribe(t, mustConnect(t, relay.newTransport("team"))); status.Code(err) != codes.Aborted {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Observing a connection does not change its socket options: grpc-go only limits the time
// of unacknowledged data on TCP connections.
func TestSocketOptions(t *testing.T) {
	address := serveGRPC(t, listen(t, "tcp", "localhost:0"), respondStatus(codes.Aborted))
	relay := New(t.Context(), Options{Address: address, Log: logr.Discard()})
	dial, dialed := relay.dialContext, make(chan net.Conn, 1)
	relay.dialContext = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		dialed <- conn
		return conn, err
	}
	if err := subscribe(t, mustConnect(t, relay.newTransport("team"))); status.Code(err) != codes.Aborted {
		t.Fatal(err)
	}
	raw, err := (<-dialed).(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if timeout, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || timeout != 20_000 {
			t.Errorf("TCP_USER_TIMEOUT %d ms, %v", timeout, err)
		}
		if keepalive, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || keepalive != 0 {
			t.Errorf("SO_KEEPALIVE %d, %v: an idle connection sends HTTP/2 pings only", keepalive, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// A proxy in the environment is not used for addresses in the cluster. The environment is
// only read once in a process, and loopback addresses are exempt: the test therefore uses
// another process, and a host name.
func TestNoProxy(t *testing.T) {
	const inChild = "TEST_NO_PROXY_CHILD"
	if os.Getenv(inChild) != "" {
		transport := New(t.Context(), Options{Address: "{namespace}.invalid:9004", Log: logr.Discard()}).newTransport("team")
		err := subscribe(t, mustConnect(t, transport))
		if reason, _ := classifyDisconnect(err, transport.lastError()); reason != ReasonNameNotResolved {
			t.Errorf("%s: %v", reason, err)
		}
		return
	}
	requests := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoProxy$", "-test.v")
	command.Env = append(os.Environ(), inChild+"=1", "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: TestNoProxy") {
		t.Errorf("%v\n%s", err, output)
	}
	select {
	case request := <-requests:
		t.Error("a request to the proxy:", request)
	default:
	}
}
