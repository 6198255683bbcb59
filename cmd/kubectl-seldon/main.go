// Command kubectl-seldon is the plugin kubectl seldon; see package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to authenticate that kubectl has
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seldon-operator/seldon-operator/cli"
	"github.com/seldon-operator/seldon-operator/cmd/internal/buildinfo"
)

// version is set by the build (-X main.version=…). The default is the version that the
// go command recorded.
var version string

func main() {
	// A command ends before garbage matters: plans of many namespaces take a fifth less time.
	debug.SetGCPercent(400)
	// Libraries log what commands report as errors or retry.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	build := buildinfo.Current(version)
	config := cli.Config{
		Name: programName(os.Args[0]), Version: build.Version, Commit: build.Commit, Date: build.Date, Modified: build.Modified,
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	}
	code := cli.Run(ctx, config, os.Args[1:])
	stop()
	os.Exit(code)
}

// programName returns the name for usage texts: kubectl runs plugins by their file name.
func programName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".exe")
	if plugin, found := strings.CutPrefix(name, "kubectl-"); found {
		return "kubectl " + plugin
	}
	return name
}
