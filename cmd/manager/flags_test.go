package main

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// What contradicts itself or means nothing is refused, in words that say what to
// give instead; the rest says which namespaces are watched.
func TestFlags(t *testing.T) {
	tests := map[string]struct {
		arguments string
		watched   []string
		wrong     []string // parts of the error
	}{
		"all namespaces":              {arguments: "--clusterwide"},
		"all, as manifests say it":    {arguments: "--namespace=own --clusterwide=true --watch-namespaces="},
		"one":                         {arguments: "--namespace=team --clusterwide=false --watch-namespaces=", watched: []string{"team"}},
		"listed":                      {arguments: "--clusterwide --watch-namespaces=a,b", watched: []string{"a", "b", "own"}},
		"listed, untidily":            {arguments: "--clusterwide --watch-namespaces=,a,own,,a", watched: []string{"a", "own"}},
		"none":                        {arguments: "", wrong: []string{"give --namespace, or --clusterwide"}},
		"none, as manifests say it":   {arguments: "--namespace= --clusterwide=false", wrong: []string{"give --namespace, or --clusterwide"}},
		"a list without clusterwide":  {arguments: "--namespace=a --watch-namespaces=b", wrong: []string{"--watch-namespaces needs --clusterwide"}},
		"clusterwide, but how":        {arguments: "--clusterwide=some", wrong: []string{`invalid boolean value "some"`}},
		"an unknown word":             {arguments: "--clusterwide start", wrong: []string{`"start" is not known`}},
		"an unknown flag":             {arguments: "--clusterwise", wrong: []string{"-clusterwise"}},
		"no name of a namespace":      {arguments: "--namespace=Team", wrong: []string{`the namespace to watch, "Team", is no name of a namespace`}},
		"no such name in the list":    {arguments: "--clusterwide --watch-namespaces=a,b_c", wrong: []string{`"b_c"`}},
		"no workers":                  {arguments: "--clusterwide --max-concurrent-reconciles=0", wrong: []string{"--max-concurrent-reconciles=0: give 1 or more"}},
		"servers without replicas":    {arguments: "--clusterwide --max-replicas-per-server=0", wrong: []string{"--max-replicas-per-server=0: give 1 to 10000"}},
		"more than the schema has":    {arguments: "--clusterwide --max-replicas-per-server=10001", wrong: []string{"--max-replicas-per-server=10001: give 1 to 10000"}},
		"as many as the schema has":   {arguments: "--clusterwide --max-replicas-per-server=10000"},
		"silence in the past":         {arguments: "--clusterwide --scheduler-unreachable-timeout=-1s", wrong: []string{"--scheduler-unreachable-timeout=-1s: give more than 0"}},
		"no time to delete":           {arguments: "--clusterwide --unload-timeout=0", wrong: []string{"--unload-timeout=0s: give more than 0"}},
		"a level":                     {arguments: "--clusterwide --log-level=warn"},
		"an unknown level":            {arguments: "--clusterwide --log-level=loud", wrong: []string{"--log-level=loud is none of debug, info, warn, error"}},
		"a level without errors":      {arguments: "--clusterwide --log-level=fatal", wrong: []string{"--log-level=fatal is none of debug, info, warn, error"}},
		"a level for panics":          {arguments: "--clusterwide --log-level=DPanic", wrong: []string{"--log-level=DPanic is none of debug, info, warn, error"}},
		"metrics without a colon":     {arguments: "--clusterwide --metrics-bind-address=8443", wrong: []string{"--metrics-bind-address=8443 is no address"}},
		"probes at no number":         {arguments: "--clusterwide --health-probe-bind-address=:http", wrong: []string{"--health-probe-bind-address=:http is no address"}},
		"no metrics, no probes":       {arguments: "--clusterwide --metrics-bind-address=0 --health-probe-bind-address=0"},
		"one port for both":           {arguments: "--clusterwide --metrics-bind-address=:1 --health-probe-bind-address=:1", wrong: []string{"are both :1"}},
		"metrics, secure or what":     {arguments: "--clusterwide --metrics-secure=mostly", wrong: []string{`invalid boolean value "mostly"`}},
		"a scheduler for each":        {arguments: "--clusterwide --scheduler-address=sim-{namespace}:1"},
		"a scheduler for one":         {arguments: "--namespace=a --scheduler-address=sim:1", watched: []string{"a"}},
		"one scheduler for all":       {arguments: "--clusterwide --scheduler-address=sim:1", wrong: []string{"put {namespace} in it"}},
		"one scheduler for several":   {arguments: "--clusterwide --watch-namespaces=a --scheduler-address=sim:1", wrong: []string{"put {namespace} in it"}},
		"a scheduler without a port":  {arguments: "--namespace=a --scheduler-address=sim", wrong: []string{"--scheduler-address=sim has no port"}},
		"everything that is wrong":    {arguments: "--max-concurrent-reconciles=-1 --log-level=x", wrong: []string{"give --namespace", "--max-concurrent-reconciles=-1", "--log-level=x"}},
		"the flags of the log":        {arguments: "--clusterwide --zap-devel --zap-encoder=console --zap-log-level=2 --zap-time-encoding=epoch --zap-stacktrace-level=panic"},
		"a flag of the log, wrongly":  {arguments: "--clusterwide --zap-encoder=xml", wrong: []string{"zap-encoder"}},
		"the deployments of servers":  {arguments: "--clusterwide --use-deployments-for-servers=true --leader-elect"},
		"the deployments, but of how": {arguments: "--clusterwide --use-deployments-for-servers=2", wrong: []string{"use-deployments-for-servers"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			flags := settings{scope: scope{operator: "own"}}
			err := parse(strings.Fields(test.arguments), flags.bind)
			var watched []string
			if err == nil {
				watched, err = flags.validate()
			}
			if (err != nil) != (len(test.wrong) > 0) {
				t.Fatalf("got error %v, want one about %q", err, test.wrong)
			}
			for _, part := range test.wrong {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, which does not say %q", err, part)
				}
			}
			if err == nil && !slices.Equal(watched, test.watched) {
				t.Errorf("got namespaces %q, want %q", watched, test.watched)
			}
		})
	}
}

func TestOperatorsOwnNamespaceIsChecked(t *testing.T) {
	_, err := scope{operator: "Own", all: true}.namespaces()
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
		flags := settings{scope: scope{operator: "own"}}
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

// Metrics are plain on loopback only, unless it is asked for.
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
		flags := settings{}
		if err := parse(strings.Fields(arguments), flags.bind); err != nil {
			t.Fatal(err)
		}
		options := flags.metricsOptions()
		if options.SecureServing != want || (options.FilterProvider != nil) != want {
			t.Errorf("%q: got secure %v, filter %v, want %v", arguments, options.SecureServing, options.FilterProvider != nil, want)
		}
	}
}
