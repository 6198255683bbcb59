// Package helm_test takes an installation through its life with Helm: install,
// upgrade, rollback, and uninstall in every order. A GitOps tool that applies the
// same charts is simulated with kubectl.
package helm_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

var (
	ctx = context.Background()
	env installation.Environment
)

func TestHelm(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(40 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	SetDefaultConsistentlyDuration(time.Second)
	RunSpecs(t, "Helm")
}

var _ = BeforeSuite(env.Start)

// newInstallation returns an installation in two namespaces, which may be the same. The values
// are those of the setup chart.
func newInstallation(operatorNamespace, dataNamespace string, values ...string) installation.Installation {
	return installation.Installation{
		Environment: &env, OperatorNamespace: operatorNamespace, DataNamespace: dataNamespace, Values: values,
	}
}
