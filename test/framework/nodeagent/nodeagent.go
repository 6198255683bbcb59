// Package nodeagent simulates the kubelet of one node of a local control plane, for
// pods of the operator: a pod with the command /manager runs as a process of
// bin/manager on this machine, with the pod's arguments and environment, and with the
// permissions of its ServiceAccount only. The operator is thereby tested as it is
// installed: by Kustomize, by Helm, in the hooks of a chart, and with several replicas.
//
//	node, err := nodeagent.Start(ctx, nodeagent.Options{Config: cluster.Config(), Program: "bin/manager", Directory: dir})
//	… apply manifests, wait until the Deployment is available …
//	node.Log("seldon-system", "seldon-v2-controller-manager")
//	node.Kill("seldon-system", pod) // like the OOM killer
//
// It supports:
//
//   - a node named nodeagent, tainted so that the scheduler assigns no pod to it; an
//     admission policy assigns the operator's pods to it when they are created;
//   - $(VAR) in arguments, environment variables by value and by fieldRef, and a
//     kubeconfig with a token of the ServiceAccount that is bound to the pod;
//   - readiness by the container's HTTP probe, and the pod's phase, so that Deployments
//     become available, and Jobs complete or fail by the exit code;
//   - restarts of the container according to the pod's restartPolicy;
//   - SIGTERM when the pod is deleted, SIGKILL after its grace period.
//
// It does not support resource limits, volumes, images, init containers and liveness
// probes. All pods share this machine's network: in arguments of the form
// --…-bind-address=HOST:PORT, PORT is replaced by a free one, see [Agent.Address].
package nodeagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// nodeName is the name of the node and of the admission policy.
	nodeName = "nodeagent"
	// nodeLabel excludes the node from those that kwok simulates; see test/framework/controlplane/kwok.yaml.
	nodeLabel = "test.mlops.seldon.io/nodeagent"
	// command is the command of the containers that run on the node.
	command = "/manager"
)

// Options configure the node.
type Options struct {
	// Config is the configuration of an administrator of the control plane.
	Config *rest.Config
	// Program is the path of the binary that runs for the command /manager.
	Program string
	// Directory is for logs and kubeconfigs. It must exist.
	Directory string
	// Arguments returns arguments to append to a pod's own, so that they take
	// precedence. It may be nil. It is not used for containers that run once, such as a
	// Job's.
	Arguments func(pod *corev1.Pod) []string
	// Environment returns variables, as NAME=value, that take precedence over the pod's.
	// It may be nil.
	Environment func(pod *corev1.Pod) []string
}

// Agent is a running node. Its methods are safe for concurrent use.
type Agent struct {
	Options
	client kubernetes.Interface
	end    context.CancelFunc
	// done counts the goroutines of the watch and of the pods.
	done sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID]*pod
	started int // number of pods so far, from which their addresses are derived
}

// Start creates the node and returns when pods are assigned to it. The node stops when
// the context is cancelled.
func Start(ctx context.Context, options Options) (*Agent, error) {
	client, err := kubernetes.NewForConfig(options.Config)
	if err != nil {
		return nil, fmt.Errorf("start the node agent: %w", err)
	}
	a := &Agent{Options: options, client: client, pods: map[types.UID]*pod{}}
	if err := errors.Join(a.createNode(ctx), a.createPolicy(ctx)); err != nil {
		return nil, fmt.Errorf("start the node agent: %w", err)
	}
	ctx, a.end = context.WithCancel(ctx)
	a.watch(ctx)
	return a, nil
}

// Stop kills all processes and waits for them. The Node object is not deleted.
func (a *Agent) Stop() {
	a.end()
	a.done.Wait()
}

func (a *Agent) createNode(ctx context.Context) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{nodeLabel: "", corev1.LabelHostname: nodeName}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: nodeLabel, Effect: corev1.TaintEffectNoSchedule}}},
	}
	node, err := a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// This needs no renewal, since no node lifecycle controller runs.
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100"), corev1.ResourceMemory: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	node.Status.Capacity, node.Status.Allocatable = capacity, capacity
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// createPolicy creates an admission policy that assigns pods with the command to the
// node, and returns once it is in effect. Manifests can then be installed unmodified.
func (a *Agent) createPolicy(ctx context.Context) error {
	fail, never := admissionregistrationv1.Fail, admissionregistrationv1.NeverReinvocationPolicy
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			FailurePolicy: &fail, ReinvocationPolicy: never,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				},
			}}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name:       "command",
				Expression: fmt.Sprintf("object.spec.containers.exists(c, has(c.command) && size(c.command) > 0 && c.command[0] == %q)", command),
			}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
					Expression: fmt.Sprintf("Object{spec: Object.spec{nodeName: %q}}", nodeName),
				},
			}},
		},
	}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: nodeName},
	}
	admission := a.client.AdmissionregistrationV1()
	if _, err := admission.MutatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := admission.MutatingAdmissionPolicyBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		probe := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Command: []string{command}}}},
		}
		probe, err := a.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		// The namespace's ServiceAccount may not exist yet if the control plane has just
		// started.
		last = err
		return err == nil && probe.Spec.NodeName == nodeName, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the policy that assigns pods: %w", cmp.Or(last, err))
	}
	return nil
}

// watch starts pods that are assigned to the node, and stops deleted ones.
func (a *Agent) watch(ctx context.Context) {
	informer := cache.NewSharedIndexInformer(
		cache.NewListWatchFromClient(a.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", nodeName)),
		&corev1.Pod{}, 0, nil)
	update := func(object any) {
		found := object.(*corev1.Pod)
		running := a.getOrStart(ctx, found)
		if found.DeletionTimestamp != nil {
			running.terminate()
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    update,
		UpdateFunc: func(_, object any) { update(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			a.kill(object.(*corev1.Pod).UID)
		},
	})
	a.done.Go(func() { informer.RunWithContext(ctx) })
}

// getOrStart returns a pod that runs, and starts it if it does not.
func (a *Agent) getOrStart(ctx context.Context, found *corev1.Pod) *pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.pods[found.UID]; known != nil {
		return known
	}
	a.started++
	started := &pod{agent: a, pod: found, address: fmt.Sprintf("10.80.%d.%d", a.started/250, 1+a.started%250), terminating: make(chan struct{})}
	ctx, started.kill = context.WithCancel(ctx)
	a.pods[found.UID] = started
	a.done.Go(func() { started.run(ctx) })
	return started
}

// kill ends a pod that was deleted from the API.
func (a *Agent) kill(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.pods[uid]; known != nil {
		known.kill()
		delete(a.pods, uid)
	}
}

// find returns a pod by name, or nil.
func (a *Agent) find(namespace, name string) *pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.pods {
		if known.pod.Namespace == namespace && known.pod.Name == name {
			return known
		}
	}
	return nil
}

// Kill kills the process of a pod. The container is restarted according to the pod's
// restartPolicy.
func (a *Agent) Kill(namespace, name string) error { return a.signal(namespace, name, os.Kill) }

// Freeze stops the process of a pod with SIGSTOP, as if its machine hung. The
// container is not restarted before it is killed.
func (a *Agent) Freeze(namespace, name string) error {
	return a.signal(namespace, name, syscall.SIGSTOP)
}

func (a *Agent) signal(namespace, name string, signal os.Signal) error {
	if known := a.find(namespace, name); known != nil {
		return known.signal(signal)
	}
	return apierrors.NewNotFound(corev1.Resource("pods"), name)
}

// Address returns the HOST:PORT on which a pod listens for a port of its arguments, or
// "" if it does not. HOST is empty if it listens on all addresses.
func (a *Agent) Address(namespace, name string, port int) string {
	if known := a.find(namespace, name); known != nil {
		return known.listening(port)
	}
	return ""
}

// Log returns the output so far of all pods in a namespace with a prefix of the name,
// deleted ones included.
func (a *Agent) Log(namespace, prefix string) (string, error) {
	files, err := filepath.Glob(a.logFile(namespace, prefix+"*"))
	if err != nil {
		return "", err
	}
	log := strings.Builder{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		log.Write(content)
	}
	return log.String(), nil
}

func (a *Agent) logFile(namespace, name string) string {
	return filepath.Join(a.Directory, namespace+"_"+name+".log")
}
