package main

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// Contradictory and invalid flags are rejected, with an error that has the fix. Valid
// flags determine the watched namespaces.
func TestFlags(t *testing.T) {
	tests := map[string]struct {
		arguments string
		watched   []string
		errs      []string // parts of the error
	}{
		"all namespaces":                {arguments: "--clusterwide"},
		"all, as in manifests":          {arguments: "--namespace=own --clusterwide=true --watch-namespaces="},
		"one":                           {arguments: "--namespace=team --clusterwide=false --watch-namespaces=", watched: []string{"team"}},
		"listed":                        {arguments: "--clusterwide --watch-namespaces=a,b", watched: []string{"a", "b", "own"}},
		"listed, with duplicates":       {arguments: "--clusterwide --watch-namespaces=,a,own,,a", watched: []string{"a", "own"}},
		"none":                          {arguments: "", errs: []string{"set --namespace, or --clusterwide"}},
		"none, as in manifests":         {arguments: "--namespace= --clusterwide=false", errs: []string{"set --namespace, or --clusterwide"}},
		"a list without clusterwide":    {arguments: "--namespace=a --watch-namespaces=b", errs: []string{"--watch-namespaces requires --clusterwide"}},
		"clusterwide, not a boolean":    {arguments: "--clusterwide=some", errs: []string{`invalid boolean value "some"`}},
		"an unknown argument":           {arguments: "--clusterwide start", errs: []string{`unknown argument "start"`}},
		"an unknown flag":               {arguments: "--clusterwise", errs: []string{"-clusterwise"}},
		"an invalid namespace":          {arguments: "--namespace=Team", errs: []string{`namespace to watch: "Team" is not a valid name of a namespace`}},
		"an invalid name in the list":   {arguments: "--clusterwide --watch-namespaces=a,b_c", errs: []string{`"b_c"`}},
		"no workers":                    {arguments: "--clusterwide --max-concurrent-reconciles=0", errs: []string{"--max-concurrent-reconciles=0: must be at least 1"}},
		"servers without replicas":      {arguments: "--clusterwide --max-replicas-per-server=0", errs: []string{"--max-replicas-per-server=0: must be from 1 to 10000"}},
		"more than the schema has":      {arguments: "--clusterwide --max-replicas-per-server=10001", errs: []string{"--max-replicas-per-server=10001: must be from 1 to 10000"}},
		"as many as the schema has":     {arguments: "--clusterwide --max-replicas-per-server=10000"},
		"a negative timeout":            {arguments: "--clusterwide --scheduler-unreachable-timeout=-1s", errs: []string{"--scheduler-unreachable-timeout=-1s: must be greater than 0"}},
		"no time to unload":             {arguments: "--clusterwide --unload-timeout=0", errs: []string{"--unload-timeout=0s: must be greater than 0"}},
		"a level":                       {arguments: "--clusterwide --log-level=warn"},
		"an unknown level":              {arguments: "--clusterwide --log-level=loud", errs: []string{"--log-level=loud: must be debug, info, warn or error"}},
		"a level without errors":        {arguments: "--clusterwide --log-level=fatal", errs: []string{"--log-level=fatal: must be debug, info, warn or error"}},
		"a level for panics":            {arguments: "--clusterwide --log-level=DPanic", errs: []string{"--log-level=DPanic: must be debug, info, warn or error"}},
		"metrics without a colon":       {arguments: "--clusterwide --metrics-bind-address=8443", errs: []string{"--metrics-bind-address=8443: must be an address"}},
		"a port that is not a number":   {arguments: "--clusterwide --health-probe-bind-address=:http", errs: []string{"--health-probe-bind-address=:http: must be an address"}},
		"no metrics, no probes":         {arguments: "--clusterwide --metrics-bind-address=0 --health-probe-bind-address=0"},
		"one port for both":             {arguments: "--clusterwide --metrics-bind-address=:1 --health-probe-bind-address=:1", errs: []string{"are both :1"}},
		"metrics-secure, not a boolean": {arguments: "--clusterwide --metrics-secure=mostly", errs: []string{`invalid boolean value "mostly"`}},
		"a scheduler for each":          {arguments: "--clusterwide --scheduler-address=sim-{namespace}:1"},
		"a scheduler for one":           {arguments: "--namespace=a --scheduler-address=sim:1", watched: []string{"a"}},
		"one scheduler for all":         {arguments: "--clusterwide --scheduler-address=sim:1", errs: []string{"insert {namespace}"}},
		"one scheduler for several":     {arguments: "--clusterwide --watch-namespaces=a --scheduler-address=sim:1", errs: []string{"insert {namespace}"}},
		"a scheduler without a port":    {arguments: "--namespace=a --scheduler-address=sim", errs: []string{"--scheduler-address=sim: the port is missing"}},
		"all errors at once":            {arguments: "--max-concurrent-reconciles=-1 --log-level=x", errs: []string{"set --namespace", "--max-concurrent-reconciles=-1", "--log-level=x"}},
		"the flags of the log":          {arguments: "--clusterwide --zap-devel --zap-encoder=console --zap-log-level=2 --zap-time-encoding=epoch --zap-stacktrace-level=panic"},
		"an invalid flag of the log":    {arguments: "--clusterwide --zap-encoder=xml", errs: []string{"zap-encoder"}},
		"Deployments for Servers":       {arguments: "--clusterwide --use-deployments-for-servers=true --leader-elect"},
		"Deployments, not a boolean":    {arguments: "--clusterwide --use-deployments-for-servers=2", errs: []string{"use-deployments-for-servers"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			flags := options{namespaceScope: namespaceScope{operator: "own"}}
			err := parse(strings.Fields(test.arguments), flags.bind)
			var watched []string
			if err == nil {
				watched, err = flags.validate()
			}
			if (err != nil) != (len(test.errs) > 0) {
				t.Fatalf("got error %v, want one about %q", err, test.errs)
			}
			for _, part := range test.errs {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, which does not contain %q", err, part)
				}
			}
			if err == nil && !slices.Equal(watched, test.watched) {
				t.Errorf("got namespaces %q, want %q", watched, test.watched)
			}
		})
	}
}

func TestOperatorsOwnNamespaceIsChecked(t *testing.T) {
	_, err := namespaceScope{operator: "Own", all: true}.namespaces()
	if err == nil || !strings.Contains(err.Error(), "POD_NAMESPACE") {
		t.Errorf("got error %v, want one about POD_NAMESPACE", err)
	}
}

// The level is that of --log-level, else of --zap-log-level, else info.
func TestLogLevel(t *testing.T) {
	for arguments, want := range map[string]zapcore.Level{
		"--log-level=error":                       zapcore.ErrorLevel,
		"--log-level=warn --zap-log-level=debug":  zapcore.WarnLevel,
		"--zap-log-level=debug":                   zapcore.DebugLevel,
		"--zap-log-level=debug --log-level=error": zapcore.ErrorLevel,
	} {
		flags := options{namespaceScope: namespaceScope{operator: "own"}}
		if err := parse(append(strings.Fields(arguments), "--clusterwide"), flags.bind); err != nil {
			t.Fatal(err)
		}
		if _, err := flags.validate(); err != nil {
			t.Fatal(err)
		}
		if level := flags.log.Level; !level.Enabled(want) || level.Enabled(want-1) {
			t.Errorf("%s: got level %v, want %v", arguments, level, want)
		}
	}
}

// By default metrics are served without TLS on loopback only.
func TestSecureMetrics(t *testing.T) {
	for arguments, want := range map[string]bool{
		"":                                                       true,
		"--metrics-bind-address=:8443":                           true,
		"--metrics-bind-address=0.0.0.0:8443":                    true,
		"--metrics-bind-address=10.0.0.1:8443":                   true,
		"--metrics-bind-address=[::]:8443":                       true,
		"--metrics-bind-address=operator:8443":                   true,
		"--metrics-bind-address=127.0.0.1:4000":                  false,
		"--metrics-bind-address=[::1]:4000":                      false,
		"--metrics-bind-address=localhost:4000":                  false,
		"--metrics-secure=false":                                 false,
		"--metrics-bind-address=127.0.0.1:4000 --metrics-secure": true,
	} {
		flags := options{}
		if err := parse(strings.Fields(arguments), flags.bind); err != nil {
			t.Fatal(err)
		}
		options := flags.metricsOptions()
		if options.SecureServing != want || (options.FilterProvider != nil) != want {
			t.Errorf("%q: got secure %v, filter %v, want %v", arguments, options.SecureServing, options.FilterProvider != nil, want)
		}
	}
}
