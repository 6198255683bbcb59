package controllers

// The operator's permissions, for `make manifests`: what its code needs and, because
// permissions can only be granted by those who have them, what the Roles in
// templates/runtime grant.
// Rules without a namespace apply to every watched namespace and the operator's own:
// config/default has them as a ClusterRole, config/namespaced turns that into a Role. The
// others apply to the operator's own namespace only.

// Custom resources that are reconciled, counted, or deleted in a cascade.
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=servers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes/status;servers/status;models/status;pipelines/status;experiments/status,verbs=patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=models;pipelines;experiments,verbs=get;list;watch;patch;delete

// To set an owner reference that blocks the owner's deletion.
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes/finalizers;servers/finalizers,verbs=update

// Child objects, and pinned configurations.
// +kubebuilder:rbac:groups="",resources=configmaps;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;delete

// Volume claims that are expanded.
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;patch

// To find out whether a namespace is terminating. A Role in a namespace can grant the
// permission to read that namespace.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get

// Granted to pods by the templates.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch

// Events: its own, and why pods of a StatefulSet are not created.
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;list;patch

// Configurations, in the operator's own namespace; and its pods, which `manager
// remove-finalizers` waits for.
// +kubebuilder:rbac:namespace=system,roleName=v2-own-namespace-role,groups=mlops.seldon.io,resources=seldonconfigs;serverconfigs,verbs=list;watch
// +kubebuilder:rbac:namespace=system,roleName=v2-own-namespace-role,groups="",resources=pods,verbs=list

// Leader election, and its Events, which are of the older kind.
// +kubebuilder:rbac:namespace=system,roleName=v2-leader-election-role,groups=coordination.k8s.io,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:namespace=system,roleName=v2-leader-election-role,groups="",resources=events,verbs=create
