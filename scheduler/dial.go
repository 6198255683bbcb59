package scheduler

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// pingAfter is the silence after which a connection is tested. Schedulers take
	// pings more often than once a minute for an attack.
	pingAfter = 75 * time.Second
	// pingTimeout is how long the answer may take; Linux applies it to everything
	// that is sent, too.
	pingTimeout = 20 * time.Second
	// receiveLimit is the size of the largest message that is taken.
	receiveLimit = 16 << 20
	// bufferSize of a connection, for each direction: messages are small, and there is
	// a connection for each namespace.
	bufferSize = 8 << 10
)

// dial makes a connection to a namespace's scheduler. Certificates are read anew
// each time, so that a change needs no restart.
func (r *Relay) dial(ctx context.Context, namespace string) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if r.TLS != nil {
		var err error
		if transport, err = r.TLS.credentials(ctx, r.Live); err != nil {
			return nil, &lostError{ReasonCredentials, err}
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveLimit)),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		// The session reconnects, with a backoff of its own.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 2, Jitter: 0.5, MaxDelay: time.Minute}, MinConnectTimeout: 5 * time.Second}),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
		grpc.WithUnaryInterceptor(r.metrics.unary), grpc.WithStreamInterceptor(r.metrics.stream),
	}
	if r.dialContext != nil {
		options = append(options, grpc.WithContextDialer(r.dialContext))
	}
	conn, err := grpc.NewClient(r.target(namespace), options...)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", r.target(namespace), err)
	}
	return conn, nil
}
