package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

// startWorkloads starts controllers, scheduler, nodes and volumes.
func (cp *ControlPlane) startWorkloads(ctx context.Context, opts Options) error {
	scheduler := fmt.Sprintf(schedulerConfiguration, cp.files.kubeconfig(schedulerUser))
	err := errors.Join(
		os.WriteFile(cp.files.schedulerConfiguration(), []byte(scheduler), 0o600),
		os.WriteFile(cp.files.kwokConfiguration(), kwokConfiguration, 0o600),
	)
	if err != nil {
		return err
	}
	if err := cp.run(binaries.ControllerManager, controllerManagerArguments(cp.files)...); err != nil {
		return err
	}
	if err := cp.run(binaries.Scheduler, schedulerArguments(cp.files)...); err != nil {
		return err
	}
	if err := cp.run(binaries.Kwok, kwokArguments(cp.files)...); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cp.admin)
	if err != nil {
		return err
	}
	if err := cp.startVolumes(ctx, client); err != nil {
		return err
	}
	if err := createNodes(ctx, client, max(opts.Nodes, 1)); err != nil {
		return err
	}
	err = cp.await(ctx, binaries.Kwok, "the nodes to be Ready", func(ctx context.Context) error {
		return nodesReady(ctx, client)
	})
	if err != nil {
		return err
	}
	const what = "the default service account"
	return cp.await(ctx, binaries.ControllerManager, what, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func createNodes(ctx context.Context, client kubernetes.Interface, count int) error {
	for i := range count {
		name := fmt.Sprintf("node-%d", i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
			},
		}}
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create node %s: %w", name, err)
		}
	}
	return nil
}

// nodesReady returns an error that names a node that is not Ready.
func nodesReady(ctx context.Context, client kubernetes.Interface) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		ready := false
		for _, condition := range node.Status.Conditions {
			ready = ready || condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		}
		if !ready {
			return fmt.Errorf("node %s is not Ready", node.Name)
		}
	}
	return nil
}
