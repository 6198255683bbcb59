// Package compose translates rendered Kubernetes objects into a Docker Compose file.
//
// [Translate] is a pure function of the objects that the operator would apply (workloads,
// Services, ConfigMaps) and of objects that the user gives (Secrets, claims). It therefore
// covers all layers and patches of the objects.
//
// A pod becomes a group of services. One has the pod's name and network: the names of the
// Services that select the pod, its ports, and a health check with the readiness probes of
// its containers. It only sleeps, and is not restarted, because containers that share its
// network would lose theirs. The pod's containers are services named POD.CONTAINER that join
// that network. Replicas are separate pods, because their names differ.
//
// Whatever has no counterpart is a warning. A value that has to differ from that in
// Kubernetes is a change, and is listed: see changes.go.
package compose
