package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers/metricsauth"
	"github.com/seldon-operator/seldon-operator/templates"
)

// disabled is the value of an address that turns a server off.
const disabled = "0"

// namespacePlaceholder is replaced by the name of a namespace.
const namespacePlaceholder = "{namespace}"

// namespaceScope determines which namespaces the operator watches.
type namespaceScope struct {
	// operator is the operator's own namespace, with its configurations.
	operator string
	// namespace, watch and all are the flags --namespace, --watch-namespaces and
	// --clusterwide.
	namespace string
	watch     string
	all       bool
}

// bind defines the flags.
func (s *namespaceScope) bind(flags *flag.FlagSet) {
	flags.StringVar(&s.namespace, "namespace", "", "the one namespace to watch, without --clusterwide")
	flags.StringVar(&s.watch, "watch-namespaces", "", "with --clusterwide, a comma-separated list of the namespaces to watch in addition to the operator's own; empty means all")
	flags.BoolVar(&s.all, "clusterwide", false, "watch all namespaces, or those of --watch-namespaces")
}

// namespaces returns the namespaces to watch, in no particular order; none means all. It
// returns an error if flags contradict each other.
func (s namespaceScope) namespaces() ([]string, error) {
	var watched []string
	for name := range strings.SplitSeq(s.watch, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(watched, name) {
			watched = append(watched, name)
		}
	}
	switch {
	case s.all && len(watched) == 0:
	case s.all && !slices.Contains(watched, s.operator):
		watched = append(watched, s.operator)
	case s.all:
	case len(watched) > 0:
		return nil, errors.New("--watch-namespaces requires --clusterwide; set --namespace to watch a single namespace")
	case s.namespace == "":
		return nil, errors.New("set --namespace, or --clusterwide to watch all namespaces")
	default:
		watched = []string{s.namespace}
	}
	errs := []error{isNamespace("POD_NAMESPACE", s.operator)}
	for _, name := range watched {
		if name != s.operator {
			errs = append(errs, isNamespace("namespace to watch", name))
		}
	}
	return watched, errors.Join(errs...)
}

// isNamespace checks the name of a namespace. The error names its source.
func isNamespace(source, name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("%s: %q is not a valid name of a namespace: %s", source, name, strings.Join(problems, "; "))
	}
	return nil
}

// options are the flags of the operator.
type options struct {
	namespaceScope
	metricsAddress string
	// metricsSecure is nil if the flag is not set. The default depends on the address.
	metricsSecure      *bool
	probeAddress       string
	leaderElect        bool
	log                zap.Options
	logLevel           string
	deployments        bool
	maxConcurrent      int
	maxReplicas        int64
	scheduler          string
	unreachableTimeout time.Duration
	unloadTimeout      time.Duration
	version            bool
}

// bind defines the flags.
func (o *options) bind(flags *flag.FlagSet) {
	o.namespaceScope.bind(flags)
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":4000", "address on which metrics are served; 0 turns them off")
	flags.BoolFunc("metrics-secure", "serve metrics over TLS, to clients with the RBAC permission to get /metrics (default true unless the address is loopback)", func(value string) error {
		secure, err := strconv.ParseBool(value)
		o.metricsSecure = &secure
		return err
	})
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":4001", "address on which /healthz and /readyz are served; 0 turns them off")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "elect a leader, so that only one of several replicas is active")
	flags.StringVar(&o.logLevel, "log-level", "", "debug, info, warn or error; takes precedence over --zap-log-level (default info)")
	flags.BoolVar(&o.deployments, "use-deployments-for-servers", false, "create Deployments instead of StatefulSets for Servers")
	flags.IntVar(&o.maxConcurrent, "max-concurrent-reconciles", 8, "number of objects of each kind that are reconciled at the same time")
	flags.Int64Var(&o.maxReplicas, "max-replicas-per-server", templates.DefaultMaxReplicas,
		fmt.Sprintf("maximum number of replicas of a Server, from 1 to %d; a Server that requests more keeps its current replicas", v1alpha1.MaxReplicas))
	flags.StringVar(&o.scheduler, "scheduler-address", "",
		"address of a namespace's scheduler, with {namespace} for the namespace; for development (default seldon-scheduler.{namespace} with port 9004 or, with TLS, 9044)")
	flags.DurationVar(&o.unreachableTimeout, "scheduler-unreachable-timeout", time.Minute,
		"time without a stable connection to a scheduler, or in which it does not request or list the objects of a kind, after which the conditions of these Models, Pipelines and Experiments become Unknown")
	flags.DurationVar(&o.unloadTimeout, "unload-timeout", 5*time.Minute, "time after which the finalizer of a deleted Model, Pipeline or Experiment is removed although the scheduler has not confirmed the unload")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	o.log.TimeEncoder = zapcore.ISO8601TimeEncoder
	o.log.BindFlags(flags)
	config.RegisterFlags(flags)
}

// validate returns the namespaces to watch, or all errors in the flags. It sets the log
// level.
func (o *options) validate() ([]string, error) {
	namespaces, err := o.namespaces()
	errs := []error{err}
	if o.logLevel != "" {
		level, err := zapcore.ParseLevel(o.logLevel)
		// Nothing is logged at the levels above error, so that they would hide errors.
		if err != nil || level > zapcore.ErrorLevel {
			errs = append(errs, fmt.Errorf("--log-level=%s: must be debug, info, warn or error", o.logLevel))
		}
		o.log.Level = level
	}
	if o.maxConcurrent < 1 {
		errs = append(errs, fmt.Errorf("--max-concurrent-reconciles=%d: must be at least 1", o.maxConcurrent))
	}
	if o.maxReplicas < 1 || o.maxReplicas > v1alpha1.MaxReplicas {
		errs = append(errs, fmt.Errorf("--max-replicas-per-server=%d: must be from 1 to %d", o.maxReplicas, v1alpha1.MaxReplicas))
	}
	errs = append(errs,
		isPositive("scheduler-unreachable-timeout", o.unreachableTimeout),
		isPositive("unload-timeout", o.unloadTimeout),
		isAddress("metrics-bind-address", o.metricsAddress),
		isAddress("health-probe-bind-address", o.probeAddress))
	if o.metricsAddress == o.probeAddress && o.metricsAddress != disabled {
		errs = append(errs, fmt.Errorf("--metrics-bind-address and --health-probe-bind-address are both %s: change the port of one of them", o.metricsAddress))
	}
	if o.scheduler != "" {
		if !strings.Contains(o.scheduler, ":") {
			errs = append(errs, fmt.Errorf("--scheduler-address=%s: the port is missing", o.scheduler))
		}
		// A scheduler identifies Models by name only, without a namespace.
		if err == nil && len(namespaces) != 1 && !strings.Contains(o.scheduler, namespacePlaceholder) {
			errs = append(errs, fmt.Errorf("--scheduler-address=%s: it is the same for all watched namespaces: insert %s, or watch one namespace with --namespace", o.scheduler, namespacePlaceholder))
		}
	}
	return namespaces, errors.Join(errs...)
}

// isPositive checks the duration of a flag.
func isPositive(name string, duration time.Duration) error {
	if duration <= 0 {
		return fmt.Errorf("--%s=%s: must be greater than 0", name, duration)
	}
	return nil
}

// isAddress checks an address to listen on.
func isAddress(name, address string) error {
	if address == disabled {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s=%s: must be an address such as :8443 or 127.0.0.1:8443, or 0 for none", name, address)
	}
	return nil
}

// secureMetrics returns whether metrics are served over TLS to authorized clients. The
// default is true, except on loopback.
func (o *options) secureMetrics() bool {
	if o.metricsSecure != nil {
		return *o.metricsSecure
	}
	host, _, _ := net.SplitHostPort(o.metricsAddress)
	address := net.ParseIP(host)
	return host != "localhost" && (address == nil || !address.IsLoopback())
}

// metricsOptions returns the options of the metrics server.
func (o *options) metricsOptions() metricsserver.Options {
	options := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.secureMetrics()}
	if options.SecureServing {
		options.FilterProvider = metricsauth.Filter
		// Without HTTP/2, which scrapes do not need (CVE-2023-44487).
		options.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	return options
}
