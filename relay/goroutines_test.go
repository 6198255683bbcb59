package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// goroutinesOfClients returns the number of goroutines without those of the fake scheduler.
func goroutinesOfClients() (count int, stacks string) {
	buffer := make([]byte, 1<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	var clients []string
	for stack := range strings.SplitSeq(string(buffer), "\n\n") {
		if !strings.Contains(stack, "fakescheduler") && !strings.Contains(stack, "grpc.(*Server)") && !strings.Contains(stack, "transport.NewServerTransport") {
			clients = append(clients, stack)
		}
	}
	return len(clients), strings.Join(clients, "\n\n")
}

// A session that is connected and idle has at most 18 goroutines, one without a
// scheduler at most 6.
func TestGoroutines(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		before, _ := goroutinesOfClients()
		h.open()
		h.settle(time.Hour)
		if conn := h.status(); !conn.Synced {
			t.Fatalf("status %+v", conn)
		}
		if count, stacks := goroutinesOfClients(); count-before > 18 {
			t.Errorf("%d goroutines while connected:\n%s", count-before, stacks)
		} else {
			t.Log("connected:", count-before)
		}
		h.scheduler.Kill()
		h.settle(time.Hour)
		if count, stacks := goroutinesOfClients(); count-before > 6 {
			t.Errorf("%d goroutines without a scheduler:\n%s", count-before, stacks)
		} else {
			t.Log("down:", count-before)
		}
	})
}

// BenchmarkSessions has 1,000 sessions in one process, and one fake scheduler in
// another process, to which all connect. Metrics, with all connected and with the
// scheduler down for five minutes: goroutines and heap of a session, and attempts to
// connect in a minute of all of them together.
func BenchmarkSessions(b *testing.B) {
	const sessions = 1000
	for b.Loop() {
		folder, err := os.MkdirTemp("", "sessions") //nolint:usetesting // paths of sockets are short
		check(b, err)
		b.Cleanup(func() { check(b, os.RemoveAll(folder)) })
		program, err := process.Program(b.Context(), folder, "fakescheduler")
		check(b, err)
		socket := "unix:" + filepath.Join(folder, "s")
		scheduler, err := process.New(b.Context(), filepath.Join(folder, "log"), program, nil, "--listen", socket)
		check(b, err)
		check(b, scheduler.Start())
		b.Cleanup(func() { scheduler.Kill() })
		nothing := fake.NewClientBuilder().WithScheme(newScheme(b)).Build()
		ctx, cancel := context.WithCancel(b.Context())
		relay := New(ctx, Options{Reader: nothing, APIReader: nothing, Address: socket, Log: logr.Discard()})
		var dials atomic.Int64
		relay.dialContext = func(ctx context.Context, address string) (net.Conn, error) {
			dials.Add(1)
			return dialAddress(ctx, address)
		}
		heap := func() float64 {
			runtime.GC()
			stats := runtime.MemStats{}
			runtime.ReadMemStats(&stats)
			return float64(stats.HeapInuse+stats.StackInuse) / 1024
		}
		report := func(state string, goroutines int, memory float64) {
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/sessions, "goroutines/session-"+state)
			b.ReportMetric((heap()-memory)/sessions, "KiB/session-"+state)
			before := dials.Load()
			time.Sleep(time.Minute)
			b.ReportMetric(float64(dials.Load()-before), "dials/min-"+state)
		}
		goroutines, memory := runtime.NumGoroutine(), heap()
		start := time.Now()
		for i := range sessions {
			relay.Open(fmt.Sprintf("team-%d", i))
		}
		for connected := 0; connected < sessions; {
			if connected = 0; time.Since(start) > time.Minute {
				check(b, errors.New("not all sessions are in sync after a minute"))
			}
			time.Sleep(100 * time.Millisecond)
			for i := range sessions {
				if status, _ := relay.ConnectionStatus(fmt.Sprintf("team-%d", i)); status.Synced {
					connected++
				}
			}
		}
		b.ReportMetric(time.Since(start).Seconds(), "s-to-connect")
		report("up", goroutines, memory)
		scheduler.Kill()
		time.Sleep(5 * time.Minute)
		report("down", goroutines, memory)
		cancel()
		check(b, relay.Start(ctx))
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
