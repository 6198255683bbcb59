package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/tree"
	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/nodeagent"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	// namespace is the namespace of the SeldonRuntime.
	namespace = "team-a"
	// stepTimeout is the timeout of each command, and of the wait for its effect.
	stepTimeout = 2 * time.Minute
	// pollInterval is how often the objects are listed during a step, and idleInterval
	// after the last one.
	pollInterval = 200 * time.Millisecond
	idleInterval = time.Second
)

// errInterrupted is the error of a demonstration that was interrupted before its end.
var errInterrupted = errors.New("interrupted")

// demo is a demonstration.
type demo struct {
	nonInteractive  bool
	managerBinary   string
	schedulerBinary string
	// directory is a temporary directory for all files, and binaries has kubectl.
	directory, binaries string
	// environment is that of shell commands, in addition to the demo's own.
	environment []string

	// The fields below are set by the steps.
	cluster   *controlplane.ControlPlane
	client    client.Client
	operator  *nodeagent.Agent
	scheduler *process.Process
	// tree is the last observed tree.
	tree []*tree.Node
}

// run performs all steps and then, if the demo is interactive, prints changes until
// the context is cancelled. It has stopped everything when it returns.
func (d *demo) run(ctx context.Context) (err error) {
	for _, program := range []string{d.managerBinary, d.schedulerBinary} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w; `make demo` builds it", err)
		}
	}
	if d.binaries, err = binaries.Directory(); err != nil {
		return err
	}
	if d.directory, err = os.MkdirTemp("", "seldon-demo-"); err != nil {
		return err
	}
	defer func() { err = d.stop(err) }()
	fmt.Printf("This takes about half a minute.\n")
	steps := d.steps()
	for i, s := range steps {
		fmt.Printf("\n[%d/%d] %s\n", i+1, len(steps), s.name)
		if err := d.perform(ctx, s); ctx.Err() != nil {
			return errInterrupted
		} else if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	fmt.Printf("\nAll steps succeeded. All objects:\n%s\n", draw(tree.Group(d.tree)))
	if d.nonInteractive {
		return nil
	}
	programs, err := filepath.Abs(filepath.Dir(d.managerBinary))
	if err != nil {
		return err
	}
	fmt.Printf(hints, d.environment[0], d.binaries, namespace, d.directory, programs)
	err = d.follow(ctx, idleInterval, step{until: func([]*tree.Node) error { return errInterrupted }})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hints are formatted with KUBECONFIG, the directory of kubectl, the namespace, the directory of
// the logs and that of the plugin.
const hints = `
To explore it from another terminal, in this directory:
  export %[1]s PATH=%[2]s:%[5]s:$PATH
  kubectl get -n %[3]s seldonruntimes,servers,models,pipelines,experiments,pods
Use the plugin: show what is not ready, what the operator would change, and where a field comes from:
  kubectl seldon tree -n %[3]s
  kubectl seldon plan -n %[3]s
  kubectl seldon explain -n %[3]s deployment/seldon-envoy
Delete objects and see them recreated:
  kubectl delete -n %[3]s deployments,services --all
Delete a Model, see what depends on it, and recreate it:
  kubectl delete -n %[3]s model iris
  kubectl apply -n %[3]s -f config/samples/mlops_v1alpha1_model.yaml
The logs of the operator and of the calls that the scheduler receives: %[4]s/*.log

Changes are printed here until Ctrl-C, which stops everything and deletes all files.
`

// perform performs a step, waits for its effect, and prints the tree.
func (d *demo) perform(ctx context.Context, s step) error {
	start := time.Now()
	if err := s.act(ctx); err != nil {
		return err
	}
	if s.until != nil {
		ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("timed out after %s", stepTimeout))
		defer cancel()
		if err := d.follow(ctx, pollInterval, s); err != nil {
			return err
		}
		fmt.Printf("%s", draw(tree.Fold(tree.Group(d.tree))))
	}
	fmt.Printf("Done in %.1f s.\n", time.Since(start).Seconds())
	return nil
}

// follow prints changes of the tree until a step has had its effect.
func (d *demo) follow(ctx context.Context, interval time.Duration, s step) error {
	start, changed := time.Now(), time.Now()
	for {
		objects, err := observe(ctx, d.client)
		if err == nil {
			for _, line := range describe(tree.Changes(d.tree, objects)) {
				changed = time.Now()
				fmt.Printf("%6.1f s  %s\n", changed.Sub(start).Seconds(), line)
			}
			d.tree = objects
			if err = s.until(objects); err == nil {
				if time.Since(changed) >= s.settle {
					return nil
				}
				err = errors.New("objects still change")
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-d.cluster.Broken():
			return errors.New("a program of the control plane exited by itself")
		case <-time.After(interval):
		}
	}
}

// stop stops everything. err is the error of the demonstration. Unless that is nil or
// errInterrupted, the files are kept and the error that it returns quotes the logs.
func (d *demo) stop(err error) error {
	fmt.Printf("\nStopping everything\n")
	if d.operator != nil {
		d.operator.Stop()
	}
	if d.scheduler != nil {
		d.scheduler.Kill()
	}
	if d.cluster != nil {
		err = errors.Join(err, d.cluster.Stop())
	}
	fmt.Printf("Done.\n")
	if err != nil && !errors.Is(err, errInterrupted) {
		return fmt.Errorf("%w\n%sThe files are kept in %s", err, quoteLogs(d.directory), d.directory)
	}
	return errors.Join(err, os.RemoveAll(d.directory))
}

// quoteLogs returns the last lines of the logs of the operator and of the scheduler.
func quoteLogs(directory string) string {
	var quoted strings.Builder
	files, _ := filepath.Glob(filepath.Join(directory, "*.log")) // the pattern is valid
	for _, file := range files {
		content, _ := os.ReadFile(file) // an unreadable log is shown as empty
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&quoted, "The last lines of %s:\n\t%s\n", file, strings.Join(lines[max(0, len(lines)-10):], "\n\t"))
	}
	return quoted.String()
}

// step is a step of the demonstration.
type step struct {
	name string
	act  func(context.Context) error
	// until returns an error while the step has not had its effect. It is nil for a step
	// without an effect on the tree.
	until func(objects []*tree.Node) error
	// settle is how long the tree must stay unchanged in addition.
	settle time.Duration
}

// steps returns all steps in their order.
func (d *demo) steps() []step {
	const (
		models    = "config/samples/mlops_v1alpha1_model.yaml"
		resources = " -f " + models + " -f config/samples/mlops_v1alpha1_pipeline.yaml -f config/samples/mlops_v1alpha1_experiment.yaml"
		// newVersion is a change that requires loading the Model again.
		newVersion = ` --type=merge -p '{"spec":{"artifactVersion":2}}'`
	)
	return []step{
		{name: "Start a Kubernetes control plane with simulated nodes, and create the CRDs", act: d.startControlPlane},
		{name: "Install the operator", act: d.installOperator},
		{name: "Start a simulated scheduler for namespace " + namespace, act: d.startScheduler},
		{name: "Create a SeldonRuntime with two Servers", until: allReady, act: d.shell(
			"kubectl create namespace "+namespace,
			"kubectl apply -n "+namespace+" -f config/samples/mlops_v1alpha1_seldonruntime.yaml")},
		{name: "Create Models, a Pipeline and an Experiment", until: allReady, act: d.shell("kubectl apply -n " + namespace + resources)},
		{name: "Update a Model: the scheduler loads the new version", until: allReady,
			act: d.shell("kubectl patch -n " + namespace + " model iris" + newVersion)},
		{name: "Delete a Model that the Experiment needs", until: notReady("Experiment/iris-experiment"),
			act: d.shell("kubectl delete -n " + namespace + " model iris-challenger")},
		{name: "Recreate the Model", until: allReady, act: d.shell("kubectl apply -n " + namespace + " -f " + models)},
		{name: "Kill the scheduler: its Models turn Unknown only after a minute", until: notReady(schedulerReachable), act: d.killScheduler},
		{name: "Update a Model while the scheduler does not run", until: notReady("Model/iris-features"),
			act: d.shell("kubectl patch -n " + namespace + " model iris-features" + newVersion)},
		// The operator debounces status updates for a second, so that an object may seem ready
		// until the operator has compared it with the restarted scheduler.
		{name: "Start the scheduler again: it has to load all Models again", until: allReady, settle: 2 * time.Second, act: d.startScheduler},
	}
}

func (d *demo) startControlPlane(ctx context.Context) (err error) {
	d.cluster, err = controlplane.Start(ctx, controlplane.Options{
		Directory: filepath.Join(d.directory, "controlplane"), CRDs: []string{"config/crd/bases"},
	})
	if err != nil {
		return err
	}
	d.environment = []string{"KUBECONFIG=" + d.cluster.KubeconfigPath(), "KUBECACHEDIR=" + filepath.Join(d.directory, "kubectl"),
		"PATH=" + d.binaries + ":" + os.Getenv("PATH")}
	fmt.Printf("To watch it from another terminal:\n  export %s PATH=%s:$PATH\n", d.environment[0], d.binaries)
	d.client, err = client.New(d.cluster.Config(), client.Options{})
	return err
}

// installOperator installs the operator as on a cluster. The node agent runs the container
// of its pod as a process.
func (d *demo) installOperator(ctx context.Context) (err error) {
	d.operator, err = nodeagent.Start(ctx, nodeagent.Options{
		Config: d.cluster.Config(), Program: d.managerBinary, Directory: d.directory,
		Arguments: func(*corev1.Pod) []string {
			return []string{"--scheduler-address=" + d.schedulerAddress("{namespace}")}
		},
	})
	if err != nil {
		return err
	}
	return d.shell("kubectl apply -k config/default",
		"kubectl rollout status -n seldon-system deployment/seldon-v2-controller-manager --timeout=1m")(ctx)
}

func (d *demo) schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(d.directory, namespace+".sock")
}

// startScheduler starts the scheduler, which is a process instead of the scheduler's
// container because no container runs. Its delays make intermediate states visible.
func (d *demo) startScheduler(ctx context.Context) (err error) {
	if d.scheduler == nil {
		d.scheduler, err = process.New(ctx, filepath.Join(d.directory, "scheduler.log"), d.schedulerBinary, nil,
			"--listen="+d.schedulerAddress(namespace), "--state="+filepath.Join(d.directory, "scheduler.volume"), "--verbose",
			"--agent-load-delay=1s", "--agent-unload-delay=500ms", "--worker-delay=500ms")
	}
	if err != nil {
		return err
	}
	return d.scheduler.Start()
}

func (d *demo) killScheduler(context.Context) error {
	fmt.Printf("$ kill -KILL %d\n", d.scheduler.Pid())
	d.scheduler.Kill()
	return nil
}

// shell returns a function that prints and runs shell commands.
func (d *demo) shell(commands ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		for _, text := range commands {
			fmt.Printf("$ %s\n", text)
			command := exec.CommandContext(ctx, "sh", "-c", "exec "+text)
			command.Env = append(os.Environ(), d.environment...)
			if output, err := command.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", text, errors.Join(context.Cause(ctx), err), strings.TrimSpace(string(output)))
			}
		}
		return nil
	}
}
