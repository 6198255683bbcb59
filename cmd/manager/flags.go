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
	"github.com/seldon-operator/seldon-operator/controllers/access"
	"github.com/seldon-operator/seldon-operator/templates"
)

// off, as an address, is nowhere.
const off = "0"

// inAddress is put in for by the name of a namespace.
const inAddress = "{namespace}"

// scope says which namespaces the operator has to do with.
type scope struct {
	// operator is the operator's own namespace, where its configurations are.
	operator  string
	namespace string
	watch     string
	all       bool
}

func (s *scope) bind(flags *flag.FlagSet) {
	flags.StringVar(&s.namespace, "namespace", "", "the one namespace to watch, without --clusterwide")
	flags.StringVar(&s.watch, "watch-namespaces", "", "with --clusterwide, the namespaces to watch, separated by commas, to which the operator's own comes; empty is all")
	flags.BoolVar(&s.all, "clusterwide", false, "watch all namespaces, or those of --watch-namespaces")
}

// namespaces to watch, without an order; none means all. What contradicts is an
// error.
func (s scope) namespaces() ([]string, error) {
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
		return nil, errors.New("--watch-namespaces needs --clusterwide; for a single namespace give --namespace")
	case s.namespace == "":
		return nil, errors.New("give --namespace, or --clusterwide to watch all namespaces")
	default:
		watched = []string{s.namespace}
	}
	wrong := []error{isNamespace("POD_NAMESPACE", s.operator)}
	for _, name := range watched {
		if name != s.operator {
			wrong = append(wrong, isNamespace("the namespace to watch", name))
		}
	}
	return watched, errors.Join(wrong...)
}

func isNamespace(what, name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("%s, %q, is no name of a namespace: %s", what, name, strings.Join(problems, "; "))
	}
	return nil
}

// settings are the flags of the operator.
type settings struct {
	scope
	metricsAddress string
	// metricsSecure is nil if nothing is said: then it depends on the address.
	metricsSecure *bool
	probeAddress  string
	leaderElect   bool
	log           zap.Options
	logLevel      string
	deployments   bool
	concurrency   int
	maxReplicas   int64
	scheduler     string
	silence       time.Duration
	deadline      time.Duration
	version       bool
}

func (s *settings) bind(flags *flag.FlagSet) {
	s.scope.bind(flags)
	flags.StringVar(&s.metricsAddress, "metrics-bind-address", ":4000", "where metrics are served; 0 switches them off")
	flags.BoolFunc("metrics-secure", "serve metrics over TLS, to who may read /metrics by RBAC (default true unless the address is loopback)", func(value string) error {
		secure, err := strconv.ParseBool(value)
		s.metricsSecure = &secure
		return err
	})
	flags.StringVar(&s.probeAddress, "health-probe-bind-address", ":4001", "where /healthz and /readyz are served; 0 switches them off")
	flags.BoolVar(&s.leaderElect, "leader-elect", false, "elect a leader, so that of several replicas one works")
	flags.StringVar(&s.logLevel, "log-level", "", "debug, info, warn or error; goes before --zap-log-level (default info)")
	flags.BoolVar(&s.deployments, "use-deployments-for-servers", false, "make Servers Deployments in place of StatefulSets")
	flags.IntVar(&s.concurrency, "max-concurrent-reconciles", 8, "number of objects of each kind that are reconciled at the same time")
	flags.Int64Var(&s.maxReplicas, "max-replicas-per-server", templates.DefaultMaxReplicas,
		fmt.Sprintf("greatest number of replicas that a Server gets, from 1 to %d; one that requests more keeps the replicas that it has", v1alpha1.MaxReplicas))
	flags.StringVar(&s.scheduler, "scheduler-address", "",
		"address of a namespace's scheduler, with {namespace} for the namespace; for development (default seldon-scheduler.{namespace} with port 9004 or, with TLS, 9044)")
	flags.DurationVar(&s.silence, "scheduler-unreachable-timeout", time.Minute, "time without a stable connection to a scheduler after which the Ready condition of its Models, Pipelines and Experiments becomes Unknown")
	flags.DurationVar(&s.deadline, "unload-timeout", 5*time.Minute, "time after which the finalizer of a deleted Model, Pipeline or Experiment is removed although the scheduler has not confirmed the unload")
	flags.BoolVar(&s.version, "version", false, "print the version and exit")
	s.log.TimeEncoder = zapcore.ISO8601TimeEncoder
	s.log.BindFlags(flags)
	config.RegisterFlags(flags)
}

// validate tells everything that is wrong with the values, and what they are in
// effect: the log's level is set, and the namespaces are returned.
func (s *settings) validate() ([]string, error) {
	namespaces, err := s.namespaces()
	wrong := []error{err}
	if s.logLevel != "" {
		level, err := zapcore.ParseLevel(s.logLevel)
		// Those above would hide errors: nothing is logged at them.
		if err != nil || level > zapcore.ErrorLevel {
			wrong = append(wrong, fmt.Errorf("--log-level=%s is none of debug, info, warn, error", s.logLevel))
		}
		s.log.Level = level
	}
	if s.concurrency < 1 {
		wrong = append(wrong, fmt.Errorf("--max-concurrent-reconciles=%d: give 1 or more", s.concurrency))
	}
	if s.maxReplicas < 1 || s.maxReplicas > v1alpha1.MaxReplicas {
		wrong = append(wrong, fmt.Errorf("--max-replicas-per-server=%d: give 1 to %d", s.maxReplicas, v1alpha1.MaxReplicas))
	}
	wrong = append(wrong,
		isPositive("scheduler-unreachable-timeout", s.silence),
		isPositive("unload-timeout", s.deadline),
		isAddress("metrics-bind-address", s.metricsAddress),
		isAddress("health-probe-bind-address", s.probeAddress))
	if s.metricsAddress == s.probeAddress && s.metricsAddress != off {
		wrong = append(wrong, fmt.Errorf("--metrics-bind-address and --health-probe-bind-address are both %s: give one of them another port", s.metricsAddress))
	}
	if s.scheduler != "" {
		if !strings.Contains(s.scheduler, ":") {
			wrong = append(wrong, fmt.Errorf("--scheduler-address=%s has no port", s.scheduler))
		}
		// One scheduler knows Models by their names alone.
		if err == nil && len(namespaces) != 1 && !strings.Contains(s.scheduler, inAddress) {
			wrong = append(wrong, fmt.Errorf("--scheduler-address=%s is the same for every namespace, and several are watched: put %s in it, or watch one by --namespace", s.scheduler, inAddress))
		}
	}
	return namespaces, errors.Join(wrong...)
}

func isPositive(name string, duration time.Duration) error {
	if duration <= 0 {
		return fmt.Errorf("--%s=%s: give more than 0", name, duration)
	}
	return nil
}

// isAddress checks an address to listen on.
func isAddress(name, address string) error {
	if address == off {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s=%s is no address such as :8443 or 127.0.0.1:8443, and not 0 for none", name, address)
	}
	return nil
}

// secureMetrics tells whether metrics are served over TLS, to those who may read
// them: everywhere but on loopback, unless something else is asked for.
func (s *settings) secureMetrics() bool {
	if s.metricsSecure != nil {
		return *s.metricsSecure
	}
	host, _, _ := net.SplitHostPort(s.metricsAddress)
	address := net.ParseIP(host)
	return host != "localhost" && (address == nil || !address.IsLoopback())
}

// metricsOptions say how metrics are served.
func (s *settings) metricsOptions() metricsserver.Options {
	options := metricsserver.Options{BindAddress: s.metricsAddress, SecureServing: s.secureMetrics()}
	if options.SecureServing {
		options.FilterProvider = access.Filter
		// Of no use to a scrape, and has been a way to exhaust servers (CVE-2023-44487).
		options.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	return options
}
