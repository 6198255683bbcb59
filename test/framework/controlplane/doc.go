// Package controlplane runs a real Kubernetes control plane on this machine's
// loopback interface, for tests, demonstrations and benchmarks. It needs no
// container engine and downloads nothing: the programs are built from source
// by the package [github.com/seldon-operator/seldon-operator/test/framework/binaries].
//
// What runs:
//
//   - etcd and kube-apiserver, with RBAC, and with the admission plugins
//     OwnerReferencesPermissionEnforcement and ServiceAccount on top of
//     Kubernetes' default ones;
//   - kube-controller-manager with the controllers that workloads need
//     (among them the garbage collector, namespaces, quotas, service accounts),
//     and kube-scheduler;
//   - kwok, which plays the nodes: a pod that is scheduled is Ready at once,
//     and a pod that is deleted is gone at once, whatever its grace period.
//     No container ever runs, unless a [github.com/seldon-operator/seldon-operator/test/framework/nodeagent]
//     is added;
//   - a volume provisioner inside the calling process: every claim gets a
//     PersistentVolume of its own, and a claim that grows gets what it asks for.
//     The default StorageClass allows expansion.
//
// With [Options.APIServerOnly] only the first of these run, which starts
// faster and suits tests of what the API server alone decides.
//
// What always holds: everything listens on 127.0.0.1, ports are reserved for as
// long as the control plane lives so that any number of them run side by side,
// each start is a new and empty cluster, and no program outlives the process
// that started it, even when that process is killed (on Linux, where the kernel
// can be asked for this).
//
// To hold pods back from becoming Ready, cordon the nodes (spec.unschedulable).
// To make a running pod unready, patch its status: the simulated nodes only
// ever move pods that are Pending.
package controlplane
