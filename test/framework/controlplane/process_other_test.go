//go:build !linux

package controlplane_test

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// Elsewhere, programs outlive a killed process, and the running programs are not listed.

func (c child) killAndExpectNoProcess(t *testing.T) {
	t.Helper()
	NewWithT(t).Expect(c.input.Close()).To(Succeed())
	NewWithT(t).Expect(c.command.Wait()).To(Succeed())
}

func expectCancelStops(t *testing.T, cp *controlplane.ControlPlane, cancel context.CancelFunc) {
	t.Helper()
	cancel()
	NewWithT(t).Expect(cp.Stop()).To(Succeed())
}

func expectExitIsReported(*testing.T, *controlplane.ControlPlane) {}
