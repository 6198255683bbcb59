package controllers

// What the operator may do, for `make manifests`. It is what the code below does
// and, because nobody may grant rights that they do not hold, what the roles in
// the templates grant: see templates/runtime.

// Custom resources: our own, and what is counted, or deleted in a cascade.
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=servers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonruntimes/status;servers/status;models/status;pipelines/status;experiments/status,verbs=patch
// +kubebuilder:rbac:groups=mlops.seldon.io,resources=seldonconfigs;serverconfigs,verbs=get;list;watch
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

// Whether what is being deleted goes together with its namespace.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get

// Granted to pods by the templates.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
