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

// The stages about what the scheduler serves. The pods of the control plane run
// nothing, so that a simulated scheduler, and all that works behind it, runs as a
// process in the place of the scheduler's pod.

// relayedSamples are what the scheduler is to serve, the Models first.
var relayedSamples = []string{
	"config/samples/mlops_v1alpha1_model.yaml",
	"config/samples/mlops_v1alpha1_pipeline.yaml",
	"config/samples/mlops_v1alpha1_experiment.yaml",
}

// What of the samples something happens to.
const (
	updatedModel = "iris"
	// deletedModel is a candidate of the Experiment.
	deletedModel = "iris-challenger"
	experiment   = "Experiment iris-experiment"
	// missedModel is updated while there is no scheduler.
	missedModel = "iris-features"
)

// schedulerAddress is that of a namespace's scheduler. Programs run in the
// demonstration's directory: a path from there is never too long for a socket.
func schedulerAddress(namespace string) string { return "unix:" + namespace + ".sock" }

// delays let people see what goes on: what the simulated parts take.
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

func (d *demo) createRelayed(ctx context.Context) (string, error) {
	written := make([]*unstructured.Unstructured, len(d.relayed))
	for i, sample := range d.relayed {
		written[i] = sample.DeepCopy()
	}
	if err := d.create(ctx, userNamespace, written...); err != nil {
		return "", err
	}
	return "config/samples/mlops_v1alpha1_{model,pipeline,experiment}.yaml", d.untilReadyWith(ctx, written...)
}

// untilReadyWith waits until the picture shows objects as they were just written,
// and everything is ready.
func (d *demo) untilReadyWith(ctx context.Context, written ...*unstructured.Unstructured) error {
	return d.await(ctx, func(w *watch) error {
		for _, object := range written {
			if !w.shows(object) {
				return fmt.Errorf("%s has not arrived yet", listed(object))
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
	return note, d.untilReadyWith(ctx, model)
}

func (d *demo) updateMeanwhile(ctx context.Context) (note string, err error) {
	d.missed, note, err = d.newVersion(ctx, missedModel)
	return note, err
}

// newVersion changes a Model, so that it has to be loaded anew.
func (d *demo) newVersion(ctx context.Context, name string) (model *unstructured.Unstructured, note string, err error) {
	model = modelNamed(name)
	const change = `{"spec":{"artifactVersion":2}}`
	if err := d.client.Patch(ctx, model, client.RawPatch(types.MergePatchType, []byte(change))); err != nil {
		return nil, "", fmt.Errorf("update %s: %w", listed(model), err)
	}
	return model, "artifactVersion: 2", nil
}

// deleteModel takes away what the Experiment needs.
func (d *demo) deleteModel(ctx context.Context) (string, error) {
	model := modelNamed(deletedModel)
	if err := d.client.Delete(ctx, model); err != nil {
		return "", fmt.Errorf("delete %s: %w", listed(model), err)
	}
	err := d.await(ctx, func(w *watch) error {
		tree := w.tree()
		if left := tree.find(listed(model)); left != nil {
			return fmt.Errorf("%s is still there: %s", left.title(), left.detail)
		}
		if misses := tree.find(experiment); misses != nil && misses.own == ready {
			return fmt.Errorf("%s does not miss %s", misses.title(), listed(model))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return "unloaded; the Experiment misses it", nil
}

func (d *demo) recreateModel(ctx context.Context) (string, error) {
	at := slices.IndexFunc(d.relayed, func(sample *unstructured.Unstructured) bool {
		return listed(sample) == listed(modelNamed(deletedModel))
	})
	if at < 0 {
		return "", fmt.Errorf("%s has no Model %s", relayedSamples[0], deletedModel)
	}
	model := d.relayed[at].DeepCopy()
	if err := d.create(ctx, userNamespace, model); err != nil {
		return "", err
	}
	return "", d.untilReadyWith(ctx, model)
}

// modelNamed is a Model of which only the name is known.
func modelNamed(name string) *unstructured.Unstructured {
	model := &unstructured.Unstructured{}
	model.SetGroupVersionKind(modelKind)
	model.SetNamespace(userNamespace)
	model.SetName(name)
	return model
}

// killScheduler ends the scheduler as a crash does.
func (d *demo) killScheduler(ctx context.Context) (string, error) {
	d.scheduler.kill()
	note := fmt.Sprintf("process %d; what it serves would turn Unknown after a minute", d.scheduler.command.Process.Pid)
	return note, d.await(ctx, func(w *watch) error {
		if reach := w.tree().find(v1alpha1.ConditionSchedulerReachable); reach != nil && reach.own == ready {
			return fmt.Errorf("%s is still True: %s", reach.title(), reach.detail)
		}
		return nil
	})
}

// calm is how long everything must stay ready after a start of the scheduler. The
// operator gives what is in motion a second before it tells, so that until then a
// status may be one from before.
const calm = 2 * time.Second

func (d *demo) untilServedAgain(ctx context.Context) (string, error) {
	var since time.Time
	return "", d.await(ctx, func(w *watch) error {
		err := allReady(w)
		if !w.shows(d.missed) {
			err = fmt.Errorf("%s has not arrived yet", listed(d.missed))
		}
		switch {
		case err != nil:
			since = time.Time{}
			return err
		case since.IsZero():
			since = time.Now()
		}
		if time.Since(since) < calm {
			return errors.New("it has only just become ready")
		}
		return nil
	})
}
