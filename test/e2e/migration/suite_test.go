// Package migration_test follows the steps of docs/how-to/migration.md: from an installation
// of the upstream Seldon operator by its Helm charts to this operator, back, and
// forward again.
package migration_test

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

func TestMigration(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	SetDefaultConsistentlyDuration(time.Second)
	// What is checked costs many requests, and shows a change that is reverted.
	SetDefaultConsistentlyPollingInterval(400 * time.Millisecond)
	RunSpecs(t, "Migration")
}

var _ = BeforeSuite(func() { env.Start(nil) })
