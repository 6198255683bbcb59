package scheduler

import (
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// A session whose tries have failed for a while waits longer each time, unless it
// is told that the scheduler may be there now.
func TestHurry(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	tries := make(chan struct{})
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_ = connection.Close()
			tries <- struct{}{}
		}
	}()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	nothing := fake.NewClientBuilder().WithScheme(scheme).Build()
	relay := New(t.Context(), Options{Address: listener.Addr().String(), Reader: nothing, Log: logr.Discard()})
	relay.open("team")
	for range 4 {
		<-tries
	}
	select {
	case <-tries:
		t.Fatal("it does not wait between its tries")
	case <-time.After(time.Second):
	}
	relay.Hurry("team")
	select {
	case <-tries:
	case <-time.After(time.Second):
		t.Fatal("it still waits, for four seconds or more in all")
	}
}
