// Package nodeagent plays the kubelet of one node of a local control plane, for the
// operator alone: a pod with the command /manager runs as a process of bin/manager
// on this machine, with the pod's arguments and environment and with no rights but
// those of its ServiceAccount. So the operator is tested as it is installed, by
// Kustomize, by Helm, with the hooks of a chart, and with several replicas.
//
//	node, err := nodeagent.Start(ctx, nodeagent.Options{Config: cluster.Config(), Program: "bin/manager", Directory: dir})
//	… apply manifests; the Deployment becomes available, or does not …
//	node.Log("seldon-system", "seldon-v2-controller-manager")
//	node.Kill("seldon-system", pod) // as a node's memory shortage would
//
// What it does of what a kubelet does:
//
//   - a node named nodeagent, which the scheduler puts nothing on, and which the pods
//     in question are assigned to when they are created, by an admission policy;
//   - $(VAR) in arguments, environment variables by value and by fieldRef, a token for
//     the ServiceAccount that is bound to the pod, in a kubeconfig with nothing else;
//   - readiness by the container's own HTTP probe, and the pod's phase, so that
//     Deployments become available and Jobs complete or fail by the exit code;
//   - a container that ends is started again if the pod's restartPolicy says so;
//   - SIGTERM when the pod is deleted, SIGKILL after its grace period.
//
// What is not as on a node: all pods share this machine's network. Arguments of the
// form --…-bind-address=HOST:PORT are therefore given a free port in place of PORT;
// [Agent.Address] tells which. There are no limits, volumes, images, init
// containers and liveness probes.
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
	// nodeName is the node's, and that of the admission policy.
	nodeName = "nodeagent"
	// nodeLabel keeps kwok away from the node; see test/framework/controlplane/kwok.yaml.
	nodeLabel = "test.mlops.seldon.io/nodeagent"
	// command is what containers that run here have.
	command = "/manager"
)

// Options say what to run.
type Options struct {
	// Config is that of an administrator of the control plane.
	Config *rest.Config
	// Program is what runs for /manager.
	Program string
	// Directory holds logs and kubeconfigs. It must exist.
	Directory string
	// Arguments are added to a pod's own, and go before them if both have a flag.
	// It may be nil. They are not given to containers that run once, such as a Job's.
	Arguments func(pod *corev1.Pod) []string
	// Environment, as NAME=value, goes before the pod's. It may be nil.
	Environment func(pod *corev1.Pod) []string
}

// Kubelet is a running node. Its methods may be called from any goroutine.
type Agent struct {
	Options
	client kubernetes.Interface
	end    context.CancelFunc
	// done is waited for by Stop: the watch, and the pods.
	done sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID]*pod
	started int // pods so far, for their addresses
}

// Start makes the node and returns when pods come to it. It ends with the context.
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

// Stop kills all processes. The node stays, with nobody behind it.
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
	// Nobody takes that back: no node life cycle controller runs.
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100"), corev1.ResourceMemory: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	node.Status.Capacity, node.Status.Allocatable = room, room
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// createPolicy has pods with our command come here, and returns once it is in
// force. Manifests need not say so: they are installed as they are.
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
		// A control plane that has just started may not have the namespace's account yet.
		last = err
		return err == nil && probe.Spec.NodeName == nodeName, nil
	})
	if err != nil {
		return fmt.Errorf("policy that assigns pods: %w", cmp.Or(last, err))
	}
	return nil
}

// watch starts what comes to the node, and ends what goes.
func (a *Agent) watch(ctx context.Context) {
	informer := cache.NewSharedIndexInformer(
		cache.NewListWatchFromClient(a.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", nodeName)),
		&corev1.Pod{}, 0, nil)
	seen := func(object any) {
		found := object.(*corev1.Pod)
		started := a.pod(ctx, found)
		if found.DeletionTimestamp != nil {
			started.terminate()
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			a.forget(object.(*corev1.Pod).UID)
		},
	})
	a.done.Go(func() { informer.RunWithContext(ctx) })
}

// pod finds a pod, or starts it.
func (a *Agent) pod(ctx context.Context, found *corev1.Pod) *pod {
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

// forget ends a pod that is no longer in the API.
func (a *Agent) forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.pods[uid]; known != nil {
		known.kill()
		delete(a.pods, uid)
	}
}

// find finds a pod by its name; nil is none.
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

// Kill kills the process of a pod, which is told nothing. The container is then
// started again, as restartPolicy says.
func (a *Agent) Kill(namespace, name string) error { return a.signal(namespace, name, os.Kill) }

// Freeze halts the process of a pod, as a machine that hangs would: it does nothing
// any more, and is not started again before it is killed.
func (a *Agent) Freeze(namespace, name string) error {
	return a.signal(namespace, name, syscall.SIGSTOP)
}

func (a *Agent) signal(namespace, name string, signal os.Signal) error {
	if known := a.find(namespace, name); known != nil {
		return known.signal(signal)
	}
	return apierrors.NewNotFound(corev1.Resource("pods"), name)
}

// Address is where something listens that listens at a port in the pod, as
// HOST:PORT; empty while there is no such thing. A HOST that stands for all
// addresses is empty.
func (a *Agent) Address(namespace, name string, port int) string {
	if known := a.find(namespace, name); known != nil {
		return known.listening(port)
	}
	return ""
}

// Log is what the containers of all pods of a namespace, whose names begin so, have
// printed so far.
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
