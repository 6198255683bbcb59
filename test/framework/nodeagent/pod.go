package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const (
	// probeInterval is shorter than a kubelet's, since tests wait for readiness.
	probeInterval = 100 * time.Millisecond
	// restartDelay is the time before a container is restarted.
	restartDelay = time.Second
	// tokenSeconds is longer than any pod of a test exists.
	tokenSeconds = 24 * 60 * 60
)

// pod is a pod that runs on the node.
type pod struct {
	agent   *Agent
	pod     *corev1.Pod
	address string
	// kill kills the process.
	kill context.CancelFunc
	// terminating is closed when the pod is being deleted, by terminateOnce.
	terminating   chan struct{}
	terminateOnce sync.Once

	mu        sync.Mutex
	process   *os.Process
	addresses map[int]string
}

func (p *pod) terminate() { p.terminateOnce.Do(func() { close(p.terminating) }) }

func (p *pod) isTerminating() bool {
	select {
	case <-p.terminating:
		return true
	default:
		return false
	}
}

func (p *pod) signal(signal os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return errors.New("the container does not run")
	}
	return p.process.Signal(signal)
}

func (p *pod) listening(port int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses[port]
}

// run runs the pod's container, with restarts according to its policy, until the pod
// is being deleted. Then it removes the pod from the API.
func (p *pod) run(ctx context.Context) {
	for restarts := int32(0); ; restarts++ {
		exit, err := p.runContainer(ctx, restarts)
		if ctx.Err() != nil {
			return
		}
		if p.isTerminating() {
			break
		}
		// A container that could not be started is retried, whatever the policy is.
		policy := p.pod.Spec.RestartPolicy
		if err == nil && (policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && exit == 0) {
			p.retryUntilAccepted(ctx, func() error { return p.patchStatus(ctx, finished(exit, restarts)) })
			break
		}
		p.retryUntilAccepted(ctx, func() error { return p.patchStatus(ctx, waiting(restarts, err)) })
		select {
		case <-p.terminating:
		case <-time.After(restartDelay):
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-p.terminating:
	case <-ctx.Done():
		return
	}
	now := int64(0)
	p.retryUntilAccepted(ctx, func() error {
		return p.agent.client.CoreV1().Pods(p.pod.Namespace).Delete(ctx, p.pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.pod.UID},
		})
	})
}

// retryUntilAccepted retries a write until the API server accepts it or the pod does
// not exist.
func (p *pod) retryUntilAccepted(ctx context.Context, write func() error) {
	for {
		if err := write(); err == nil || apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-time.After(probeInterval):
		case <-ctx.Done():
			return
		}
	}
}

// runContainer runs the container once and returns its exit code. The container is
// stopped when the pod terminates, and killed when the context is cancelled.
func (p *pod) runContainer(ctx context.Context, restarts int32) (exit int, err error) {
	if len(p.pod.Spec.Containers) != 1 {
		return 0, errors.New("the node agent supports pods with one container only")
	}
	container := &p.pod.Spec.Containers[0]
	run, probe, err := p.prepare(ctx, container)
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(p.agent.logFile(p.pod.Namespace, p.pod.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	run.Stdout, run.Stderr = log, log
	ended, err := process.Launch(run)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	p.process = run.Process
	p.mu.Unlock()
	p.reportUntilEnded(ctx, probe, restarts, ended)
	p.mu.Lock()
	p.process = nil
	p.mu.Unlock()
	return run.ProcessState.ExitCode(), nil
}

// prepare returns the command to run, and the URL of its readiness probe.
func (p *pod) prepare(ctx context.Context, container *corev1.Container) (*exec.Cmd, string, error) {
	if len(container.Command) == 0 || container.Command[0] != command {
		return nil, "", fmt.Errorf("container %s does not run %s", container.Name, command)
	}
	values, err := environment(p.pod, container)
	if err != nil {
		return nil, "", err
	}
	var arguments []string
	for _, argument := range slices.Concat(container.Command[1:], container.Args) {
		arguments = append(arguments, expand(argument, values))
	}
	if p.agent.Arguments != nil && p.pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		arguments = append(arguments, p.agent.Arguments(p.pod)...)
	}
	arguments, addresses, err := remapPorts(arguments)
	if err != nil {
		return nil, "", err
	}
	p.mu.Lock()
	p.addresses = addresses
	p.mu.Unlock()
	probe, err := readinessURL(container, addresses)
	if err != nil {
		return nil, "", err
	}
	kubeconfig, err := p.kubeconfig(ctx)
	if err != nil {
		return nil, "", err
	}
	run := exec.CommandContext(ctx, p.agent.Program, arguments...)
	run.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + p.agent.Directory, "PATH=" + os.Getenv("PATH")}
	for name, value := range values {
		run.Env = append(run.Env, name+"="+value)
	}
	if p.agent.Environment != nil {
		run.Env = append(run.Env, p.agent.Environment(p.pod)...)
	}
	return run, probe, nil
}

// kubeconfig writes a file with a token of the pod's ServiceAccount, which is valid
// while the pod exists, and returns its path.
func (p *pod) kubeconfig(ctx context.Context) (string, error) {
	seconds := int64(tokenSeconds)
	token, err := p.agent.client.CoreV1().ServiceAccounts(p.pod.Namespace).CreateToken(ctx, p.pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.pod.Name, UID: p.pod.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create a token of ServiceAccount %s: %w", p.pod.Spec.ServiceAccountName, err)
	}
	const local = "local"
	path := filepath.Join(p.agent.Directory, p.pod.Namespace+"_"+p.pod.Name+".kubeconfig")
	return path, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{local: {Server: p.agent.Config.Host, CertificateAuthorityData: p.agent.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{local: {Token: token.Status.Token}},
		Contexts:       map[string]*clientcmdapi.Context{local: {Cluster: local, AuthInfo: local}},
		CurrentContext: local,
	}, path)
}

// reportUntilEnded writes the pod's status while its container runs, and stops the
// container when the pod terminates. It returns when the container has ended.
func (p *pod) reportUntilEnded(ctx context.Context, probe string, restarts int32, ended <-chan struct{}) {
	var killed <-chan time.Time
	terminating := p.terminating
	probes := time.NewTicker(probeInterval)
	defer probes.Stop()
	reported, ready := false, false
	for {
		if now := isReady(ctx, probe); now != ready || !reported {
			ready = now
			reported = p.patchStatus(ctx, running(ready, restarts)) == nil
		}
		select {
		case <-ended:
			return
		case <-probes.C:
		case <-terminating:
			terminating = nil
			_ = p.signal(syscall.SIGTERM)
			grace := int64(30)
			if p.pod.Spec.TerminationGracePeriodSeconds != nil {
				grace = *p.pod.Spec.TerminationGracePeriodSeconds
			}
			killed = time.After(time.Duration(grace) * time.Second)
		case <-killed:
			_ = p.signal(os.Kill)
		}
	}
}

func isReady(ctx context.Context, probe string) bool {
	if probe == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, probe, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// state is the part of a pod's status that changes.
type state struct {
	phase     corev1.PodPhase
	ready     bool
	restarts  int32
	container corev1.ContainerState
}

// running returns the state while the container runs.
func running(ready bool, restarts int32) state {
	return state{corev1.PodRunning, ready, restarts, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}
}

// waiting returns the state before a restart. The error is that of the last start, or
// nil.
func waiting(restarts int32, err error) state {
	reason := &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	if err != nil {
		reason = &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: err.Error()}
	}
	return state{corev1.PodRunning, false, restarts, corev1.ContainerState{Waiting: reason}}
}

// finished returns the state after the last run.
func finished(exit int, restarts int32) state {
	end := &corev1.ContainerStateTerminated{ExitCode: int32(exit), Reason: "Completed", FinishedAt: metav1.Now()}
	if end.ExitCode == 0 {
		return state{corev1.PodSucceeded, false, restarts, corev1.ContainerState{Terminated: end}}
	}
	end.Reason = "Error"
	return state{corev1.PodFailed, false, restarts, corev1.ContainerState{Terminated: end}}
}

// patchStatus writes the pod's status.
func (p *pod) patchStatus(ctx context.Context, current state) error {
	container := p.pod.Spec.Containers[0]
	ready := corev1.ConditionFalse
	if current.ready {
		ready = corev1.ConditionTrue
	}
	conditions := []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodInitialized, Status: corev1.ConditionTrue}}
	for _, kind := range []corev1.PodConditionType{corev1.ContainersReady, corev1.PodReady} {
		conditions = append(conditions, corev1.PodCondition{Type: kind, Status: ready, LastTransitionTime: metav1.Now()})
	}
	started := current.container.Running != nil
	status := corev1.PodStatus{
		Phase: current.phase, Conditions: conditions, StartTime: &p.pod.CreationTimestamp,
		PodIP: p.address, PodIPs: []corev1.PodIP{{IP: p.address}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: container.Name, Image: container.Image, Ready: current.ready, Started: &started,
			RestartCount: current.restarts, State: current.container,
		}},
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = p.agent.client.CoreV1().Pods(p.pod.Namespace).Patch(ctx, p.pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
