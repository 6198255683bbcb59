// Command manager is the operator.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/scheduler"
)

// version is set by the build.
var version = "development"

// gcPercent is how far the heap may grow, in percent of what is live, before it is
// collected, unless GOGC says otherwise. Go's own default is 100. Most of the heap
// are caches, so that a lower value saves memory in proportion and costs little.
const gcPercent = 25

// leaseName is that of the existing operator, so that the two never run at once.
const leaseName = "e98130ae.seldon.io"

// settings are the flags.
type settings struct {
	metricsAddress  string
	probeAddress    string
	namespace       string
	watchNamespaces string
	clusterwide     bool
	leaderElect     bool
	logLevel        string
	deployments     bool
	concurrency     int
	scheduler       string
	silence         time.Duration
	deadline        time.Duration
	version         bool
}

func main() {
	// A word before the flags names what to do, if that is not to run.
	arguments, work := os.Args[1:], run
	if len(arguments) > 0 && arguments[0] == "release" {
		arguments, work = arguments[1:], release
	}
	flags := settings{}
	flag.StringVar(&flags.metricsAddress, "metrics-bind-address", ":4000", "where metrics are served; 0 switches them off")
	flag.StringVar(&flags.probeAddress, "health-probe-bind-address", ":4001", "where /healthz and /readyz are served")
	flag.StringVar(&flags.namespace, "namespace", "", "namespace to watch, unless clusterwide")
	flag.StringVar(&flags.watchNamespaces, "watch-namespaces", "", "namespaces to watch, separated by commas; only with --clusterwide, and empty means all")
	flag.BoolVar(&flags.clusterwide, "clusterwide", false, "watch all namespaces, or those of --watch-namespaces")
	flag.BoolVar(&flags.leaderElect, "leader-elect", false, "elect a leader, so that of several replicas one works")
	flag.StringVar(&flags.logLevel, "log-level", "info", "debug, info, warn or error")
	flag.BoolVar(&flags.deployments, "use-deployments-for-servers", false, "make Servers Deployments in place of StatefulSets")
	flag.IntVar(&flags.concurrency, "concurrency", 8, "objects of each kind that are reconciled side by side")
	flag.StringVar(&flags.scheduler, "scheduler-address", "",
		"address of a namespace's scheduler, with {namespace} for the namespace; for development (default seldon-scheduler.{namespace} with port 9004 or, with TLS, 9044)")
	flag.DurationVar(&flags.silence, "scheduler-silence", time.Minute, "how long a scheduler may be out of reach before what it serves is told to be unknown")
	flag.DurationVar(&flags.deadline, "deletion-deadline", 5*time.Minute, "how long a deleted Model, Pipeline or Experiment waits for its scheduler's word before it is released")
	flag.BoolVar(&flags.version, "version", false, "print the version and exit")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	_ = flag.CommandLine.Parse(arguments) // it exits by itself
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "manager: %q is not known; see manager --help\n", flag.Arg(0))
		os.Exit(2)
	}
	if flags.version {
		fmt.Println(version)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := work(flags); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

const usage = `Usage:
  manager [flags]          run the operator
  manager release [flags]  take the operator's finalizers off everything in the
                           namespaces to watch, so that it can be uninstalled

Flags:
`

// run starts the manager and returns when it is told to stop.
func run(flags settings) error {
	level, err := zapcore.ParseLevel(flags.logLevel)
	if err != nil {
		return fmt.Errorf("--log-level: %q is none of debug, info, warn, error", flags.logLevel)
	}
	ctrl.SetLogger(zap.New(zap.Level(level)))
	operatorNamespace := operatorNamespace()
	namespaces, err := flags.namespaces(operatorNamespace)
	if err != nil {
		return err
	}

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	// The API server's own priority and fairness is the limit.
	config.QPS = -1
	// Only the lists at the start are large. Unpacking them costs more than it
	// saves within a cluster, and the buffers for it stay.
	config.DisableCompression = true
	mgr, err := ctrl.NewManager(config, manager.Options{
		Scheme:                        newScheme(),
		Cache:                         controllers.CacheOptions(operatorNamespace, namespaces),
		Metrics:                       metricsserver.Options{BindAddress: flags.metricsAddress},
		HealthProbeBindAddress:        flags.probeAddress,
		LeaderElection:                flags.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	tls, err := scheduler.TLSFromEnvironment(os.Getenv, cmp.Or(flags.namespace, os.Getenv("POD_NAMESPACE")))
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	err = errors.Join(
		controllers.Setup(ctx, mgr, controllers.Options{
			Namespace: operatorNamespace, UseDeploymentsForServers: flags.deployments, Concurrency: flags.concurrency,
			SchedulerAddress: flags.scheduler, TLS: tls, Silence: flags.silence, DeletionDeadline: flags.deadline,
		}),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", controllers.CachesSynced(ctx, mgr.GetCache())),
	)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// release takes the finalizers off.
func release(flags settings) error {
	namespaces, err := flags.namespaces(operatorNamespace())
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	ctrl.SetLogger(logr.Discard())
	to, err := client.New(config, client.Options{Scheme: newScheme()})
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	return controllers.Release(ctrl.SetupSignalHandler(), to, namespaces, func(kind string, object client.Object) {
		fmt.Printf("released %s %s/%s\n", kind, object.GetNamespace(), object.GetName())
	})
}

// operatorNamespace is where the operator runs, and its configurations are.
func operatorNamespace() string {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	return "seldon-mesh"
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// namespaces to watch; none means all.
func (s settings) namespaces(operatorNamespace string) ([]string, error) {
	var listed []string
	for name := range strings.SplitSeq(s.watchNamespaces, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(listed, name) {
			listed = append(listed, name)
		}
	}
	switch {
	case s.clusterwide && len(listed) == 0:
		return nil, nil
	case s.clusterwide:
		if !slices.Contains(listed, operatorNamespace) {
			listed = append(listed, operatorNamespace)
		}
		return listed, nil
	case len(listed) > 0:
		return nil, errors.New("--watch-namespaces needs --clusterwide; for a single namespace give --namespace")
	case s.namespace == "":
		return nil, errors.New("give --namespace, or --clusterwide to watch them all")
	}
	return []string{s.namespace}, nil
}
