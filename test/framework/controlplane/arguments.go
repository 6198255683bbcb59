package controlplane

import (
	"fmt"
	"strings"
)

// controllers are those of kube-controller-manager that workloads need. Each additional
// one costs watches and CPU time.
var controllers = []string{
	"clusterrole-aggregation-controller", // fills the roles admin, edit and view
	"deployment-controller",
	"endpointslice-controller",
	"garbage-collector-controller",
	"job-controller",
	"namespace-controller",
	"persistentvolume-binder-controller",
	"persistentvolume-protection-controller",
	"persistentvolumeclaim-protection-controller",
	"replicaset-controller",
	"resourcequota-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"statefulset-controller",
}

// schedulerConfiguration makes the scheduler retry soon: a pod whose claim is about to
// be bound should not wait ten seconds.
const schedulerConfiguration = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: %q
  qps: 5000
  burst: 5000
leaderElection:
  leaderElect: false
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 1
`

func etcdArguments(files layout, client, peer *reservedPort) []string {
	clientURL, peerURL := "http://"+client.hostPort(), "http://"+peer.hostPort()
	return []string{
		"--data-dir=" + files.etcd(),
		"--listen-client-urls=" + clientURL,
		"--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=default=" + peerURL,
		"--socket-reuse-port",
		// The state is temporary, so that losing it in a crash does not matter.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

// apiServerArguments returns the arguments of the API server. The extra flags are last,
// since the API server uses the last value of a flag that is given twice.
func apiServerArguments(files layout, etcd, serving *reservedPort, extra []string) []string {
	arguments := []string{
		"--etcd-servers=http://" + etcd.hostPort(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", serving.number),
		"--permit-port-sharing",
		"--tls-cert-file=" + files.servingCertificate(),
		"--tls-private-key-file=" + files.servingKey(),
		"--client-ca-file=" + files.authority(),
		"--authorization-mode=RBAC",
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
		// This plugin taints new nodes as not ready until the node lifecycle controller
		// removes the taint, which does not run here.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + files.serviceAccountKey(),
		"--service-account-signing-key-file=" + files.serviceAccountKey(),
		"--service-cluster-ip-range=10.0.0.0/16",
		// Endpoints cannot be loopback addresses, and no pod needs them.
		"--endpoint-reconciler-type=none",
		// Only the machine limits the load.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1500",
		"--enable-priority-and-fairness=false",
		"--delete-collection-workers=8",
		"--profiling=false",
	}
	return append(arguments, extra...)
}

func controllerManagerArguments(files layout) []string {
	return []string{
		"--kubeconfig=" + files.kubeconfig(controllerManagerUser),
		"--controllers=" + strings.Join(controllers, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--root-ca-file=" + files.authority(),
		"--service-account-private-key-file=" + files.serviceAccountKey(),
		"--kube-api-qps=5000",
		"--kube-api-burst=5000",
		"--concurrent-deployment-syncs=16",
		"--concurrent-replicaset-syncs=16",
		"--concurrent-statefulset-syncs=16",
		"--concurrent-namespace-syncs=16",
		"--concurrent-service-endpoint-syncs=8",
		"--concurrent-serviceaccount-token-syncs=8",
		"--concurrent-resource-quota-syncs=8",
		"--profiling=false",
	}
}

func schedulerArguments(files layout) []string {
	return []string{
		"--config=" + files.schedulerConfiguration(),
		"--secure-port=0",
	}
}

func kwokArguments(files layout) []string {
	return []string{
		"--kubeconfig=" + files.kubeconfig(kwokUser),
		// The flag is a list, which is parsed as CSV.
		`--config="` + strings.ReplaceAll(files.kwokConfiguration(), `"`, `""`) + `"`,
		// No controller watches the leases of the nodes.
		"--node-lease-duration-seconds=0",
	}
}
