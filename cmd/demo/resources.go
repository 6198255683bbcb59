package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// The steps with Models, Pipelines and Experiments. The pods of the control plane run no
// containers, so that a simulated scheduler runs as a process instead of the scheduler's
// pod.

// resourceSamples are the samples of resources that the scheduler loads, Models first.
var resourceSamples = []string{
	"config/samples/mlops_v1alpha1_model.yaml",
	"config/samples/mlops_v1alpha1_pipeline.yaml",
	"config/samples/mlops_v1alpha1_experiment.yaml",
}

// The samples that the steps change.
const (
	updatedModel = "iris"
	// deletedModel is a candidate of the Experiment.
	deletedModel = "iris-challenger"
	experiment   = "Experiment iris-experiment"
	// offlineModel is updated while the scheduler does not run.
	offlineModel = "iris-features"
)

// schedulerAddress returns the address of a namespace's scheduler. The path is relative
// to the directory of the demonstration, since the path of a Unix socket is limited to
// about 100 bytes.
func schedulerAddress(namespace string) string { return "unix:" + namespace + ".sock" }

// delays are those of the simulated scheduler, so that intermediate states are visible.
var delays = []string{
	"--agent-load-delay=1s", "--agent-unload-delay=500ms", "--worker-delay=500ms",
	"--reconnect-delay=500ms", "--envoy-delay=250ms", "--server-status-delay=250ms",
}

// startScheduler starts the scheduler, the first time on a new volume.
func (d *demo) startScheduler(context.Context) (note string, err error) {
	d.scheduler, err = d.launch(program{
		name: "scheduler", path: d.flags.schedulerBinary, directory: d.directory, log: d.schedulerLog(),
		arguments: append([]string{
			"--listen=" + schedulerAddress(userNamespace), "--verbose", "--state=" + filepath.Join(d.directory, "scheduler.volume"),
		}, delays...),
	})
	return "log: " + d.schedulerLog(), err
}

func (d *demo) createResources(ctx context.Context) (string, error) {
	written := make([]*unstructured.Unstructured, len(d.resources))
	for i, sample := range d.resources {
		written[i] = sample.DeepCopy()
	}
	if err := d.create(ctx, userNamespace, written...); err != nil {
		return "", err
	}
	return "config/samples/mlops_v1alpha1_{model,pipeline,experiment}.yaml", d.awaitReadyWith(ctx, written...)
}

// awaitReadyWith waits until the watch has objects at least as new as written, and
// everything is ready.
func (d *demo) awaitReadyWith(ctx context.Context, written ...*unstructured.Unstructured) error {
	return d.await(ctx, func(w *watch) error {
		for _, object := range written {
			if !w.shows(object) {
				return fmt.Errorf("%s is not in the watch yet", refs(object))
			}
		}
		return allReady(w)
	})
}

func (d *demo) updateModel(ctx context.Context) (string, error) {
	model, note, err := d.newVersion(ctx, updatedModel)
	if err != nil {
		return "", err
	}
	return note, d.awaitReadyWith(ctx, model)
}

func (d *demo) updateOfflineModel(ctx context.Context) (note string, err error) {
	d.offlineUpdate, note, err = d.newVersion(ctx, offlineModel)
	return note, err
}

// newVersion updates a Model, so that it must be loaded again.
func (d *demo) newVersion(ctx context.Context, name string) (model *unstructured.Unstructured, note string, err error) {
	model = modelNamed(name)
	const change = `{"spec":{"artifactVersion":2}}`
	if err := d.client.Patch(ctx, model, client.RawPatch(types.MergePatchType, []byte(change))); err != nil {
		return nil, "", fmt.Errorf("update %s: %w", refs(model), err)
	}
	return model, "artifactVersion: 2", nil
}

// deleteModel deletes a Model that the Experiment needs.
func (d *demo) deleteModel(ctx context.Context) (string, error) {
	model := modelNamed(deletedModel)
	if err := d.client.Delete(ctx, model); err != nil {
		return "", fmt.Errorf("delete %s: %w", refs(model), err)
	}
	err := d.await(ctx, func(w *watch) error {
		tree := w.tree()
		if remaining := tree.find(refs(model)); remaining != nil {
			return fmt.Errorf("%s still exists: %s", remaining.title(), remaining.detail)
		}
		if dependent := tree.find(experiment); dependent != nil && dependent.own == ready {
			return fmt.Errorf("%s is ready without %s", dependent.title(), refs(model))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return "unloaded; the Experiment is not ready without it", nil
}

func (d *demo) recreateModel(ctx context.Context) (string, error) {
	at := slices.IndexFunc(d.resources, func(sample *unstructured.Unstructured) bool {
		return refs(sample) == refs(modelNamed(deletedModel))
	})
	if at < 0 {
		return "", fmt.Errorf("%s has no Model %s", resourceSamples[0], deletedModel)
	}
	model := d.resources[at].DeepCopy()
	if err := d.create(ctx, userNamespace, model); err != nil {
		return "", err
	}
	return "", d.awaitReadyWith(ctx, model)
}

// modelNamed returns a Model with its name only.
func modelNamed(name string) *unstructured.Unstructured {
	model := &unstructured.Unstructured{}
	model.SetGroupVersionKind(modelKind)
	model.SetNamespace(userNamespace)
	model.SetName(name)
	return model
}

// killScheduler kills the scheduler, to simulate a crash.
func (d *demo) killScheduler(ctx context.Context) (string, error) {
	d.scheduler.kill()
	note := fmt.Sprintf("process %d; its Models would turn Unknown after a minute", d.scheduler.command.Process.Pid)
	return note, d.await(ctx, func(w *watch) error {
		if reach := w.tree().find(v1alpha1.ConditionSchedulerReachable); reach != nil && reach.own == ready {
			return fmt.Errorf("%s is still True: %s", reach.title(), reach.detail)
		}
		return nil
	})
}

// settleTime is how long everything must stay ready after a start of the scheduler. The
// operator debounces status updates for a second, so that a status may be outdated until
// then.
const settleTime = 2 * time.Second

func (d *demo) awaitAllReady(ctx context.Context) (string, error) {
	var since time.Time
	return "", d.await(ctx, func(w *watch) error {
		err := allReady(w)
		if !w.shows(d.offlineUpdate) {
			err = fmt.Errorf("%s is not in the watch yet", refs(d.offlineUpdate))
		}
		switch {
		case err != nil:
			since = time.Time{}
			return err
		case since.IsZero():
			since = time.Now()
		}
		if time.Since(since) < settleTime {
			return errors.New("it has only just become ready")
		}
		return nil
	})
}
