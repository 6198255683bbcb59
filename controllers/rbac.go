package controllers

// What the operator may do, for `make manifests`. It is what the code below does
// and, because nobody may grant rights that they do not hold, what the roles in
// the templates grant: see templates/runtime. Rules without a namespace are for
// every namespace that is watched, the operator's own among them: config/default
// has them as a ClusterRole, config/namespaced turns that into a Role. The others
// are for the operator's own namespace alone.

// Custom resources: our own, and what is counted, or deleted in a cascade.
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes,verbs=list;watch;patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=servers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes/status;servers/status;models/status;pipelines/status;experiments/status,verbs=patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=models;pipelines;experiments,verbs=get;list;watch;patch;delete

// To set an owner reference that blocks the owner's deletion.
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes/finalizers;servers/finalizers,verbs=update

// Children, and the pins of configurations.
// +kubebuilder:rbac:groups="",resources=configmaps;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;delete

// Volume claims that grow.
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;patch

// Whether what is being deleted goes together with its namespace. A Role in a
// namespace can grant the reading of that namespace.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get

// Granted to pods by the templates.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch

// Events: its own, and why pods of a StatefulSet are not created.
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;list;patch

// Configurations, in the operator's own namespace; and its pods, which `manager
// release` waits for.
// +kubebuilder:rbac:namespace=system,roleName=v2-own-namespace-role,groups=mlops.seldon.io,resources=seldonconfigs;serverconfigs,verbs=list;watch
// +kubebuilder:rbac:namespace=system,roleName=v2-own-namespace-role,groups="",resources=pods,verbs=list

// Leader election, and its Events, which are of the older kind.
// +kubebuilder:rbac:namespace=system,roleName=v2-leader-election-role,groups=coordination.k8s.io,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:namespace=system,roleName=v2-leader-election-role,groups="",resources=events,verbs=create
