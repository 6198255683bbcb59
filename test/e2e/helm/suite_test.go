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
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	SetDefaultConsistentlyDuration(time.Second)
	// What is checked costs many requests, and shows a change that is reverted.
	SetDefaultConsistentlyPollingInterval(400 * time.Millisecond)
	RunSpecs(t, "Helm")
}

var _ = BeforeSuite(func() { env.Start(func() { env.InstallCRDs() }) })

// In this order, since the last specs delete the CRDs: the garbage collector takes 30
// seconds to detect that they are recreated.
var _ = Describe("With Helm,", func() {
	DescribeTableSubtree("an installation", Ordered, life,
		Entry("of all namespaces", newInstallation("life-operator", "life-team", "controller.clusterwide=true"),
			installation.CRDs, installation.Runtime, installation.Servers, installation.Setup),
		unlessShort(Entry("of one namespace", newInstallation("life", "life"),
			installation.Servers, installation.Runtime, installation.Setup, installation.CRDs)),
	)
	Describe("a GitOps tool", Ordered, gitOps)
	Describe("an uninstall", uninstalls)
	Describe("an uninstall with the CRDs", uninstallsWithCRDs)
})

// unlessShort returns entries of a table for a run without "go test -short".
func unlessShort(entries ...TableEntry) []TableEntry {
	if testing.Short() {
		return nil
	}
	return entries
}

// newInstallation returns an installation in two namespaces, which may be the same. The values
// are those of the setup chart.
func newInstallation(operatorNamespace, dataNamespace string, values ...string) installation.Installation {
	return installation.Installation{
		Environment: &env, OperatorNamespace: operatorNamespace, DataNamespace: dataNamespace, Values: values,
	}
}
