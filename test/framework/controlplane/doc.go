// Package controlplane runs a real Kubernetes control plane on the loopback interface,
// for tests, demonstrations and benchmarks. It needs no container engine and downloads
// nothing: the binaries are built from source by the package [github.com/seldon-operator/seldon-operator/test/framework/binaries].
//
// What runs:
//
//   - etcd and kube-apiserver, with RBAC, and with the admission plugins
//     OwnerReferencesPermissionEnforcement and ServiceAccount on top of
//     Kubernetes' default ones;
//   - kube-controller-manager with the controllers that workloads need
//     (among them the garbage collector, namespaces, quotas, service accounts),
//     and kube-scheduler;
//   - kwok, which simulates the nodes: a scheduled pod is Ready at once, and a deleted
//     pod is removed at once, whatever its grace period. No container runs, unless a
//     [github.com/seldon-operator/seldon-operator/test/framework/nodeagent] is added;
//   - a volume provisioner inside the calling process: every claim gets a
//     PersistentVolume of its own, which is resized when the claim is. The default
//     StorageClass allows expansion.
//
// With [Options.APIServerOnly] only the first of these run. That starts faster, and is
// sufficient for tests of the API server's own decisions.
//
// Everything listens on 127.0.0.1. Ports are reserved while the control plane runs, so
// that several can run at the same time. Each start is a new and empty cluster. On
// Linux, no program outlives the process that started it, even if that is killed.
//
// To keep pods from becoming Ready, cordon the nodes (spec.unschedulable). To make a
// running pod unready, patch its status: the simulated nodes change only Pending pods.
package controlplane
