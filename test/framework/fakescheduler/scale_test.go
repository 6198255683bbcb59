package fakescheduler

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// What TestThousandsOfModels loads, and from how many goroutines.
const models, callers = 5000, 16

func TestThousandsOfModels(t *testing.T) {
	h := open(t, Options{}, 4)
	began := time.Now()
	h.each(func(i int) error {
		_, err := h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel(fmt.Sprint("m", i), 1, nil)})
		return err
	})
	h.settle()
	t.Logf("%d models were loaded and told in %s, %d events", models, time.Since(began), h.models.count())
	if n := h.count(func(m Model) bool {
		return m.State == pb.ModelStatus_ModelAvailable && m.GatewayState == pb.ModelStatus_ModelAvailable
	}); n != models {
		t.Errorf("%d are available", n)
	}
	h.models.take()
	h.dial()
	h.subscribe()
	h.eventually("dump", func() bool { return h.models.count() == models })
	h.each(func(i int) error {
		_, err := h.client.UnloadModel(h.ctx, unloadRequest(fmt.Sprint("m", i), 2))
		return err
	})
	h.settle()
	if n := h.count(func(m Model) bool { return m.Live == 0 && m.State == pb.ModelStatus_ModelTerminated }); n != models {
		t.Errorf("%d are gone", n)
	}
}

// each calls for the number of each model, from several goroutines.
func (h *harness) each(call func(i int) error) {
	h.t.Helper()
	var group sync.WaitGroup
	for first := range callers {
		group.Go(func() {
			for i := first; i < models; i += callers {
				if err := call(i); err != nil {
					h.t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func (h *harness) count(holds func(Model) bool) int {
	n := 0
	for _, m := range h.sim.Models() {
		if holds(m) {
			n++
		}
	}
	return n
}

// Many in one process know nothing of each other.
func TestManySimulators(t *testing.T) {
	var all []*harness
	for i := range 50 {
		h := open(t, Options{}, 1)
		h.load(fmt.Sprint("m", i), 1, nil)
		all = append(all, h)
	}
	for i, h := range all {
		h.settle()
		if got := h.sim.Models(); len(got) != 1 || got[0].Name != fmt.Sprint("m", i) {
			t.Errorf("%d has %v", i, got)
		}
		h.sim.Kill()
	}
}

// Everything at once: nothing deadlocks, no goroutine stumbles over another, and
// nothing is left.
func TestConcurrentChaos(t *testing.T) {
	h := open(t, Options{Delays: Delays{AgentLoad: time.Millisecond, Envoy: time.Millisecond, ModelGateway: time.Millisecond}}, 2)
	var group sync.WaitGroup
	for worker := range uint64(6) {
		group.Go(func() {
			random := randv2.New(randv2.NewPCG(worker, 2))
			for range 150 {
				h.disturb(random)
			}
		})
	}
	group.Wait()
	h.must(nil, h.sim.Restart(RestartOptions{}))
	h.sim.Thaw()
	h.models = nil
	h.eventually("answer", func() bool { return h.call(h.ctx) == codes.OK })
	h.notify(true, 2)
	h.must(nil, h.sim.OpenGate())
	h.must(nil, h.sim.Settle(h.ctx))
	for _, m := range h.sim.Models() {
		h.unload(m.Name, 9)
	}
	h.must(nil, h.sim.Settle(h.ctx))
	if n := h.count(func(m Model) bool { return m.Live > 0 || !m.Deleted }); n != 0 {
		t.Errorf("%d models are left: %+v", n, h.sim.Models())
	}
}

// disturb does something, which may fail.
func (h *harness) disturb(random *randv2.Rand) {
	ctx, cancel := context.WithTimeout(h.ctx, time.Second)
	defer cancel()
	name, generation := fmt.Sprint("m", random.IntN(5)), random.Int64N(3)
	var err error
	switch random.IntN(14) {
	case 0, 1, 2:
		_, err = h.client.LoadModel(ctx, &pb.LoadModelRequest{Model: testModel(name, generation, replicas(uint32(random.IntN(3))))})
	case 3:
		_, err = h.client.UnloadModel(ctx, unloadRequest(name, generation))
	case 4:
		_, err = h.client.LoadPipeline(ctx, &pb.LoadPipelineRequest{Pipeline: testPipeline(name, generation, "x"+name)})
	case 5:
		_, err = h.client.UnloadPipeline(ctx, &pb.UnloadPipelineRequest{Name: name})
	case 6:
		_, err = h.client.StartExperiment(ctx, &pb.StartExperimentRequest{Experiment: testExperiment(name, pb.ResourceType_MODEL, name)})
	case 7:
		_, err = h.client.ServerNotify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{{Name: "s", ExpectedReplicas: uint32(random.IntN(3))}}})
	case 8:
		h.sim.SetModelGateways(random.IntN(3))
	case 9:
		h.sim.SetDataflowEngines(random.IntN(2))
	case 10:
		h.sim.EndStreams()
	case 11:
		if stream, failed := h.client.SubscribeModelStatus(ctx, &pb.ModelSubscriptionRequest{IsModelGateway: random.IntN(2) == 0}); failed == nil {
			_, _ = stream.Recv()
		}
	case 12:
		if random.IntN(10) == 0 {
			err = h.sim.Restart(RestartOptions{Graceful: random.IntN(2) == 0})
		}
	case 13:
		h.sim.ConnectAgent(Agent{Server: "s", Replica: random.IntN(2)})
	}
	switch status.Code(err) {
	case codes.OK, codes.FailedPrecondition, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
	default:
		h.t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scheduler"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, Options{TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}})
	ctx, cancel := context.WithTimeout(h.ctx, time.Second)
	defer cancel()
	if got := h.call(ctx); got != codes.Unavailable {
		t.Errorf("plaintext gets %s", got)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	h.credentials = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})
	h.dial()
	if got := h.call(h.ctx); got != codes.OK {
		t.Errorf("TLS gets %s", got)
	}
}
