package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Field managers. They are constants, since they are ownership: renaming one
// would leave every field that it owns behind.
const (
	// childrenManager owns the fields of children.
	childrenManager = "seldon-operator"
	// statusManager owns the status of our own kinds.
	statusManager = "seldon-operator-status"
	// scalingManager owns the replicas of Servers that a scheduler asks for.
	scalingManager = "seldon-operator-scaling"
	// finalizersManager owns the finalizers that we put on our own kinds.
	finalizersManager = "seldon-operator-finalizers"
	// uninstallManager scales the operator's own Deployment down, and gives the field up.
	uninstallManager = "seldon-operator-uninstall"
)

// policy is the engine's, for all instances.
var policy = composition.Options{
	FieldManager:                childrenManager,
	KeyPrefix:                   templates.OwnDomain,
	PreservePodTemplateKey:      templates.OwnedByTools,
	LegacyLastAppliedAnnotation: v1alpha1.LastAppliedAnnotation,
}

// kinds that runtimes have children of.
func kinds() []composition.Kind {
	return append(serverKinds(), []composition.Kind{
		{Object: &corev1.ServiceAccount{}, List: &corev1.ServiceAccountList{}},
		{Object: &rbacv1.Role{}, List: &rbacv1.RoleList{}},
		{Object: &rbacv1.RoleBinding{}, List: &rbacv1.RoleBindingList{}},
		{Object: &corev1.ConfigMap{}, List: &corev1.ConfigMapList{}},
		{Object: &v1alpha1.Server{}, List: &v1alpha1.ServerList{}, CacheUnfiltered: true},
	}...)
}

// serverKinds that Servers have children of.
func serverKinds() []composition.Kind {
	return []composition.Kind{
		{Object: &corev1.Service{}, List: &corev1.ServiceList{}},
		{Object: &appsv1.Deployment{}, List: &appsv1.DeploymentList{}},
		{Object: &appsv1.StatefulSet{}, List: &appsv1.StatefulSetList{}},
	}
}

// Options of the operator.
type Options struct {
	// Namespace of the operator, where SeldonConfigs and ServerConfigs are.
	Namespace string
	// UseDeploymentsForServers makes Servers expand into Deployments.
	UseDeploymentsForServers bool
	// MaxReplicasPerServer is the greatest number of replicas that a Server may ask
	// for; 0 means [templates.DefaultMaxReplicas].
	MaxReplicasPerServer int64
	// SchedulerAddress of a namespace's scheduler; see [relay.Options].
	SchedulerAddress string
	// TLS towards schedulers; nil is plain text.
	TLS *relay.TLS
	// Silence is how long schedulers may be out of reach before nothing is known of
	// what they serve; 0 means 60 seconds.
	Silence time.Duration
	// DeletionDeadline is how long a deleted object waits for its scheduler's word
	// that it is unloaded; 0 means 5 minutes.
	DeletionDeadline time.Duration
	// Concurrency is how many objects of a kind are reconciled side by side; 0
	// means 8.
	Concurrency int
}

// CacheOptions are what the manager's cache needs: children by our label only,
// configurations of the operator's namespace only, of everything only the
// managedFields that are ours, and of equal parts one copy. namespaces are those to watch; none means all.
func CacheOptions(operatorNamespace string, namespaces []string) cache.Options {
	labelled, err := labels.NewRequirement(policy.OwnerLabel(), selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("the owner label is a constant: %v", err))
	}
	ours := labels.NewSelector().Add(*labelled)
	here := map[string]cache.Config{operatorNamespace: {}}
	options := cache.Options{
		DefaultTransform:         policy.CacheTransform,
		DefaultWatchErrorHandler: tellMissingRights(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.SeldonConfig{}: {Namespaces: here},
			&v1alpha1.ServerConfig{}: {Namespaces: here},
		},
	}
	for _, kind := range kinds() {
		if !kind.CacheUnfiltered {
			options.ByObject[kind.Object] = cache.ByObject{Label: ours}
		}
	}
	// Pins are ours too; see pin.go.
	options.ByObject[&appsv1.ControllerRevision{}] = cache.ByObject{Label: ours, Field: fields.Everything()}
	if len(namespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range namespaces {
			options.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return options
}

// environment is what the reconcilers share.
type environment struct {
	Options
	client     client.Client // reads the cache
	live       client.Reader
	engine     *composition.Engine
	relay      *relay.Relay
	events     events.EventRecorder
	meters     *meters
	namespaces *namespaces
	pods       *podFailures
	veterans   *veterans
	// versions and failures are of the objects of one kind, and not shared.
	versions *versions
	failures *failures
}

// forOneKind is the environment of a reconciler.
func (e environment) forOneKind() environment {
	e.versions, e.failures = newVersions(), newFailures()
	return e
}

// newEnvironment is what the reconcilers of a manager share.
func newEnvironment(ctx context.Context, mgr manager.Manager, options Options) environment {
	return environment{
		Options: options, client: mgr.GetClient(), live: mgr.GetAPIReader(),
		events: mgr.GetEventRecorder("seldon-operator"), veterans: newVeterans(),
		namespaces: newNamespaces(mgr.GetAPIReader()), pods: newPodFailures(mgr.GetAPIReader()), meters: newMeters(mgr.GetClient(), metrics.Registry),
		relay: relay.New(ctx, relay.Options{
			Reader: mgr.GetClient(), Live: mgr.GetAPIReader(), Log: mgr.GetLogger().WithName("relay"),
			Address: options.SchedulerAddress, TLS: options.TLS, Silence: options.Silence,
			UseDeployments: options.UseDeploymentsForServers, Registry: metrics.Registry,
		}),
	}
}

// withEngine is the environment of a reconciler of owners. Its engine looks at the
// kinds that such an owner has children of, and at no others.
func (e environment) withEngine(compiled *composition.Templates, kinds []composition.Kind) (environment, error) {
	engine, err := composition.New(composition.Engine{
		Templates: compiled, Options: policy, Kinds: kinds, Client: e.client, Cache: e.client, APIReader: e.live,
	})
	e = e.forOneKind()
	e.engine = engine
	return e, err
}

// Setup adds the controllers to a manager whose cache has [CacheOptions].
func Setup(ctx context.Context, mgr manager.Manager, options Options) error {
	if options.Concurrency == 0 {
		options.Concurrency = 8
	}
	if options.MaxReplicasPerServer == 0 {
		options.MaxReplicasPerServer = templates.DefaultMaxReplicas
	}
	if options.DeletionDeadline == 0 {
		options.DeletionDeadline = 5 * time.Minute
	}
	compiled, err := composition.NewTemplates(templates.Files)
	if err != nil {
		return err
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), kinds()); err != nil {
		return err
	}
	if err := watchAll(ctx, mgr.GetCache()); err != nil {
		return err
	}
	shared := newEnvironment(ctx, mgr, options)
	if err := errors.Join(mgr.Add(shared.relay), mgr.Add(shared.meters)); err != nil {
		return err
	}
	forRuntimes, err := shared.withEngine(compiled, kinds())
	if err != nil {
		return err
	}
	if err := (&seldonRuntimeReconciler{forRuntimes}).setup(ctx, mgr); err != nil {
		return fmt.Errorf("set up the SeldonRuntime controller: %w", err)
	}
	forServers, err := shared.withEngine(compiled, serverKinds())
	if err != nil {
		return err
	}
	if err := (&serverReconciler{forServers}).setup(ctx, mgr); err != nil {
		return fmt.Errorf("set up the Server controller: %w", err)
	}
	return setupRelayed(mgr, shared)
}

// setupRelayed adds the controllers of what is relayed to schedulers.
func setupRelayed(mgr manager.Manager, shared environment) error {
	return errors.Join(
		(&relayedReconciler[*v1alpha1.Model]{
			environment: shared.forOneKind(), kind: relay.Model, fill: fillModel,
			new: func() *v1alpha1.Model { return &v1alpha1.Model{} },
		}).setup(mgr),
		(&relayedReconciler[*v1alpha1.Pipeline]{
			environment: shared.forOneKind(), kind: relay.Pipeline,
			new: func() *v1alpha1.Pipeline { return &v1alpha1.Pipeline{} },
		}).setup(mgr),
		(&relayedReconciler[*v1alpha1.Experiment]{
			environment: shared.forOneKind(), kind: relay.Experiment,
			new: func() *v1alpha1.Experiment { return &v1alpha1.Experiment{} },
		}).setup(mgr),
	)
}

// watchAll has the cache hold everything from the start, and not only when a
// controller first asks for it, which is once it leads: so readiness speaks of all of
// it, and a replica that takes over has it at hand.
func watchAll(ctx context.Context, caches cache.Cache) error {
	objects := []client.Object{
		&v1alpha1.SeldonRuntime{}, &v1alpha1.Model{}, &v1alpha1.Pipeline{}, &v1alpha1.Experiment{},
		&v1alpha1.SeldonConfig{}, &v1alpha1.ServerConfig{}, &appsv1.ControllerRevision{},
	}
	for _, kind := range kinds() {
		objects = append(objects, kind.Object)
	}
	for _, object := range objects {
		if _, err := caches.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	return nil
}

// Start runs the manager until ctx ends. Synced tells whether its caches are.
//
// A manager that is to end before that never does (controller-runtime v0.25,
// runnableGroup.Start: it waits on for them, and takes a processor for it). It has
// begun nothing by then that has to end, so it is left.
func Start(ctx context.Context, mgr manager.Manager, synced func() bool) error {
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !synced() {
		return nil
	}
	return <-ended
}

// CachesSynced is a readiness check: it passes once the caches hold the cluster.
func CachesSynced(ctx context.Context, caches cache.Cache) func(*http.Request) error {
	synced := make(chan struct{})
	go func() {
		if caches.WaitForCacheSync(ctx) {
			close(synced)
		}
	}()
	return func(*http.Request) error {
		select {
		case <-synced:
			return nil
		default:
			return errors.New("the caches are not synced yet")
		}
	}
}
