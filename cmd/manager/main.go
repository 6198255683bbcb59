// Command manager is the operator.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cmd/internal/buildinfo"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/relay"
)

// gcPercent is the default of GOGC: the growth of the heap, in percent of the live heap,
// that starts a garbage collection. Go's own default is 100. Most of the heap are caches,
// so that a lower value saves memory and costs little CPU time.
const gcPercent = 25

// leaseName is the same as that of the upstream operator, so that the two are never
// active at the same time.
const leaseName = "e98130ae.seldon.io"

// shutdownTimeout is the timeout of a graceful shutdown. It is less than the manifests'
// grace period of 10 seconds, so that the lease is released before SIGKILL.
const shutdownTimeout = 8 * time.Second

// usage is what --help starts with.
const usage = `Usage:
  manager [flags]                    run the operator
  manager remove-finalizers [flags]  remove the operator's finalizers from all objects in the
                                     watched namespaces, so that it can be uninstalled
  manager check [flags]              check that the operator in this namespace works

Flags:
`

func main() {
	// The first argument is a command, unless it is a flag.
	arguments, command := os.Args[1:], run
	commands := map[string]func([]string) error{"remove-finalizers": removeFinalizers, "check": check}
	if len(arguments) > 0 && commands[arguments[0]] != nil {
		arguments, command = arguments[1:], commands[arguments[0]]
	}
	err := command(arguments)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usageError{}):
		fmt.Fprintf(os.Stderr, "manager: %v\nSee manager --help.\n", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

// usageError is an error in the command line.
type usageError struct{ error }

// newClient returns a client, and disables logging, for the commands that print their
// result.
func newClient() (client.Client, error) {
	ctrl.SetLogger(logr.Discard())
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: newScheme()})
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	return c, nil
}

// parse parses the flags that bind defines.
func parse(arguments []string, bind func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	bind(flags)
	err := flags.Parse(arguments)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		fmt.Print(usage)
		flags.PrintDefaults()
		return err
	case err != nil:
		return usageError{err}
	case flags.NArg() > 0:
		return usageError{fmt.Errorf("unknown argument %q", flags.Arg(0))}
	}
	return nil
}

// run starts the manager and returns after SIGTERM or SIGINT.
func run(arguments []string) error {
	flags := options{namespaceScope: namespaceScope{operator: operatorNamespace()}}
	if err := parse(arguments, flags.bind); err != nil {
		return err
	}
	if flags.version {
		fmt.Println(buildinfo.Current(version))
		return nil
	}
	namespaces, err := flags.validate()
	if err != nil {
		return usageError{err}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&flags.log)))
	ctrl.Log.WithName("setup").Info("starting", "build", buildinfo.Current(version).String())

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	// Only the lists of the initial sync are large. Decompressing them costs more than it
	// saves within a cluster, and its buffers are not released.
	config.DisableCompression = true
	config.WarningHandlerWithContext = controllers.NewWarningLogger()
	ctx, cancel := context.WithCancel(ctrl.SetupSignalHandler())
	defer cancel()
	scheme := newScheme()
	live, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	watched, err := controllers.ResolveNamespaces(ctx, live, flags.operator, namespaces)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, manager.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(flags.operator, watched.Available),
		Metrics:                       flags.metricsOptions(),
		HealthProbeBindAddress:        flags.probeAddress,
		LeaderElection:                flags.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       flags.operator,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       new(shutdownTimeout),
	})
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	tls, err := relay.TLSFromEnvironment(os.Getenv, cmp.Or(flags.namespace, flags.operator))
	if err != nil {
		return err
	}
	ready := controllers.CachesSynced(ctx, mgr.GetCache())
	err = errors.Join(
		metrics.Registry.Register(buildMetric()), metrics.Registry.Register(watched),
		controllers.Setup(ctx, mgr, controllers.Options{
			Namespace: flags.operator, UseDeploymentsForServers: flags.deployments, MaxConcurrentReconciles: flags.maxConcurrent,
			MaxReplicasPerServer: flags.maxReplicas,
			SchedulerAddress:     flags.scheduler, TLS: tls, UnreachableTimeout: flags.unreachableTimeout, UnloadTimeout: flags.unloadTimeout,
		}),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", ready),
	)
	if err != nil {
		return err
	}
	synced := func() bool { return ready(nil) == nil }
	go func() {
		watched.WaitForChange(ctx, synced)
		cancel() // the kubelet restarts the container
	}()
	return controllers.Start(ctx, mgr, synced)
}

// operatorNamespace returns the namespace of the operator and of its configurations.
func operatorNamespace() string {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	return "seldon-mesh"
}

// newScheme returns a scheme with the built-in kinds and those of v1alpha1.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}
