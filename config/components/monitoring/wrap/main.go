// Command wrap makes a PrometheusRule, for Prometheus' operator, of the file that
// Prometheus itself reads:
//
//	go run ./config/components/monitoring/wrap config/components/monitoring
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const head = `# Made of rules.yaml by "make manifests"; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: seldon-v2-controller-manager
spec:
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: wrap DIRECTORY")
		os.Exit(2)
	}
	if err := wrap(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func wrap(directory string) error {
	rules, err := os.ReadFile(filepath.Join(directory, "rules.yaml"))
	if err != nil {
		return err
	}
	var rule strings.Builder
	rule.WriteString(head)
	for line := range strings.Lines(string(rules)) {
		if !strings.HasPrefix(line, "#") {
			rule.WriteString("  " + line)
		}
	}
	return os.WriteFile(filepath.Join(directory, "prometheusrule.yaml"), []byte(rule.String()), 0o644)
}
