package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/cli/internal/compose"
)

const (
	// outputCompose is the format of a Compose file.
	outputCompose = "compose"
	// defaultComposeNamespace is the namespace of objects in a Compose file for which neither
	// the files nor the context have one.
	defaultComposeNamespace = "seldon"
	// operatorImage is the repository of the image that has the program kubectl-seldon.
	operatorImage = "docker.io/seldon-operator/seldon-operator"
)

// bindCompose defines the flags of a Compose file.
func bindCompose(flags *pflag.FlagSet, options *compose.Options, version string) *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	const with = "with --output=compose: "
	own.StringVar(&options.Name, "project-name", "", with+"name of the project (default: the namespace)")
	own.BoolVar(&options.WithoutKafka, "without-kafka", false, with+"only scheduler, Envoy and Servers, without pipelines")
	own.StringVar(&options.ConfigDir, "config-dir", "", with+"folder to write ConfigMaps and Secrets to, so that programs detect changes (default: ConfigMaps are in the Compose file)")
	own.StringVar(&options.ModelsDir, "models-dir", "./models", with+"folder with Models, Pipelines and Experiments that the service sync loads; empty for no such service")
	own.StringVar(&options.PublishAddress, "publish-address", "127.0.0.1", with+"address of the host that ports are published on")
	own.StringVar(&options.HelperImage, "helper-image", compose.DefaultHelperImage, with+"image with sh, sleep, wget and nc, which owns the network of each pod")
	own.StringVar(&options.KafkaImage, "kafka-image", compose.DefaultKafkaImage, with+"image of the Kafka broker")
	own.StringVar(&options.SyncImage, "sync-image", operatorImage+":"+imageTag(version), with+"image of the service sync")
	flags.AddFlagSet(own)
	return own
}

// release matches versions of releases.
var release = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)$`)

// imageTag returns the tag of the image of a version. Builds that are no release have none.
func imageTag(version string) string {
	if match := release.FindStringSubmatch(version); match != nil {
		return match[1]
	}
	return "latest"
}

// checkCompose returns an error for flags of a Compose file with another format.
func (o *renderOptions) checkCompose(flags *pflag.FlagSet) error {
	if o.output == outputCompose {
		return nil
	}
	var errs []error
	o.composeFlags.VisitAll(func(flag *pflag.Flag) {
		if flags.Changed(flag.Name) {
			errs = append(errs, usageError(fmt.Errorf("--%s needs --output=compose", flag.Name)))
		}
	})
	return errors.Join(errs...)
}

// printCompose prints the translation of objects, and writes its files.
func (o *renderOptions) printCompose(objects []*unstructured.Unstructured) error {
	result, err := compose.Translate(objects, o.compose)
	if err != nil {
		return usageError(err)
	}
	for _, name := range slices.Sorted(maps.Keys(result.Files)) {
		if err := writeFile(filepath.Join(o.compose.ConfigDir, filepath.FromSlash(name)), result.Files[name]); err != nil {
			return err
		}
	}
	comment := fmt.Sprintf("Seldon Core 2, translated from the objects that the operator creates, by kubectl seldon %s.\nIt needs %s, or later.", o.Version, compose.Requirements)
	if err := result.Project.Write(o.Streams.Out, comment); err != nil {
		return err
	}
	o.services = len(result.Project.Services)
	for _, change := range result.Changes {
		o.note("changed: %s", change)
	}
	for _, warning := range result.Warnings {
		o.warn("no counterpart: %s", warning)
	}
	for _, note := range result.Notes {
		o.note("to do: %s", note)
	}
	if len(result.Files) > 0 {
		o.note("%s written below %s", count(len(result.Files), "file was", "files were"), o.compose.ConfigDir)
	}
	return nil
}

// writeFile writes a file that containers read, which run as other users than its owner. Its
// folder is not readable by others if it is that of a Secret.
func writeFile(name, content string) error {
	mode := os.FileMode(0o755)
	if strings.Contains(filepath.ToSlash(name), "/secrets/") {
		mode = 0o700
	}
	if err := os.MkdirAll(filepath.Dir(name), mode); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), 0o644) //nolint:gosec // containers read it as another user
}
