package controllers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Field managers, beside [inputs.FieldManager] for child objects. They must not change:
// the fields of a former manager would stay on every object.
const (
	// scalingManager owns the replicas of Servers that a scheduler requests.
	scalingManager = "seldon-operator-scaling"
	// uninstallManager scales the operator's own Deployment to 0, and releases the field.
	uninstallManager = "seldon-operator-uninstall"
)

// configIndex is the index of SeldonRuntimes and Servers by the name of the configuration
// that they refer to.
const configIndex = "spec.config"

// Options of the operator.
type Options struct {
	// Namespace of the operator, which contains SeldonConfigs and ServerConfigs.
	Namespace string
	// UseDeploymentsForServers makes Servers expand into Deployments instead of
	// StatefulSets.
	UseDeploymentsForServers bool
	// MaxReplicasPerServer is the maximum number of replicas of a Server; 0 means
	// [templates.DefaultMaxReplicas].
	MaxReplicasPerServer int64
	// SchedulerAddress of a namespace's scheduler; see [relay.Options].
	SchedulerAddress string
	// TLS of connections to schedulers; nil means plain text.
	TLS *relay.TLS
	// UnreachableTimeout is how long there may be no stable connection to a scheduler, or the
	// objects of a kind may not be in sync with it, before their conditions are Unknown; 0
	// means 60 seconds.
	UnreachableTimeout time.Duration
	// UnloadTimeout is how long a deleted object waits until its scheduler confirms the
	// unload; 0 means 5 minutes.
	UnloadTimeout time.Duration
	// MaxConcurrentReconciles is the number of objects of a kind that are reconciled in
	// parallel; 0 means 8.
	MaxConcurrentReconciles int
}

// CacheOptions returns what the manager's cache needs: child objects with the engine's
// label only, configurations in the operator's namespace only, and of all managedFields
// those of the engine only. namespaces are those to watch; none means all.
func CacheOptions(operatorNamespace string, namespaces []string) cache.Options {
	options := composition.CacheOptions(inputs.EngineOptions, inputs.RuntimeKinds())
	// Pinned configurations have the engine's label too.
	options.ByObject[&appsv1.ControllerRevision{}] = cache.ByObject{Label: composition.CacheSelector(inputs.EngineOptions)}
	options.DefaultWatchErrorHandler = logForbiddenWatches()
	inOperatorNamespace := cache.ByObject{Namespaces: map[string]cache.Config{operatorNamespace: {}}}
	options.ByObject[&v1alpha1.SeldonConfig{}] = inOperatorNamespace
	options.ByObject[&v1alpha1.ServerConfig{}] = inOperatorNamespace
	if len(namespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range namespaces {
			options.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return options
}

// shared has what the reconcilers of all kinds use.
type shared struct {
	Options
	client     client.Client // reads the cache
	apiReader  client.Reader
	relay      *relay.Relay
	metrics    *collector
	namespaces *namespaces
	pods       *podFailures
	base       reconciler.Options
}

// newShared returns what the reconcilers of a manager use.
func newShared(ctx context.Context, mgr manager.Manager, options Options) *shared {
	s := &shared{
		Options: options, client: mgr.GetClient(), apiReader: mgr.GetAPIReader(),
		namespaces: newNamespaces(mgr.GetAPIReader()), pods: newPodFailures(mgr.GetAPIReader()),
		metrics: newCollector(mgr.GetClient(), metrics.Registry),
		relay: relay.New(ctx, relay.Options{
			Reader: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Log: mgr.GetLogger().WithName("relay"),
			Address: options.SchedulerAddress, TLS: options.TLS, UnreachableTimeout: options.UnreachableTimeout,
			UseDeployments: options.UseDeploymentsForServers, Registry: metrics.Registry,
		}),
	}
	s.base = reconciler.Options{
		Client: s.client, Recorder: mgr.GetEventRecorder(inputs.FieldManager), FieldManager: inputs.FieldManager, Metrics: s.metrics,
		WarningConditions: warningConditions, IsProgressing: relay.IsProgressing,
	}
	return s
}

// newBase returns the reconciler of a kind as far as it does not depend on the kind.
func (s *shared) newBase(kind string) *reconciler.Base {
	options := s.base
	if kind == "SeldonRuntime" {
		options.ReadyReason = "RuntimeReady" // known to alerts, as are <Kind>Ready and <Kind>NotReady
	}
	return reconciler.NewBase(v1alpha1.GroupVersion.WithKind(kind), options)
}

// newComposer returns the reconciler of a kind with child objects of kinds. Its engine
// reads no other kinds.
func (s *shared) newComposer(kind string, compiled *composition.Templates, kinds []composition.Kind) (*reconciler.Composer, error) {
	engine, err := composition.New(composition.Config{
		Templates: compiled, Options: inputs.EngineOptions, Kinds: kinds, Client: s.client, APIReader: s.apiReader,
	})
	if err != nil {
		return nil, err
	}
	return reconciler.NewComposer(s.newBase(kind), engine), nil
}

// newReconcilers returns the reconcilers of the kinds with child objects.
func newReconcilers(s *shared, files fs.FS) (*seldonRuntimeReconciler, *serverReconciler, error) {
	compiled, err := composition.LoadTemplates(files, templates.AnnotationPrefix)
	if err != nil {
		return nil, nil, err
	}
	runtimes, err := s.newComposer("SeldonRuntime", compiled, inputs.RuntimeKinds())
	if err != nil {
		return nil, nil, err
	}
	servers, err := s.newComposer("Server", compiled, inputs.ServerKinds())
	if err != nil {
		return nil, nil, err
	}
	resolver := &inputs.Resolver{
		Reader: s.client, APIReader: s.apiReader, Namespace: s.Namespace,
		UseDeployments: s.UseDeploymentsForServers, MaxReplicasPerServer: s.MaxReplicasPerServer,
		IsPreexisting: runtimes.Preexisting.Has,
	}
	return &seldonRuntimeReconciler{s, runtimes, resolver}, &serverReconciler{s, servers, resolver}, nil
}

// Setup adds the controllers to a manager whose cache has [CacheOptions].
func Setup(ctx context.Context, mgr manager.Manager, options Options) error {
	if options.MaxConcurrentReconciles == 0 {
		options.MaxConcurrentReconciles = 8
	}
	if options.MaxReplicasPerServer == 0 {
		options.MaxReplicasPerServer = templates.DefaultMaxReplicas
	}
	if options.UnloadTimeout == 0 {
		options.UnloadTimeout = 5 * time.Minute
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), inputs.RuntimeKinds()); err != nil {
		return err
	}
	if err := startInformers(ctx, mgr.GetCache()); err != nil {
		return err
	}
	s := newShared(ctx, mgr, options)
	if err := errors.Join(mgr.Add(s.relay), mgr.Add(s.metrics)); err != nil {
		return err
	}
	runtimes, servers, err := newReconcilers(s, templates.Files)
	if err != nil {
		return err
	}
	if err := runtimes.setup(ctx, mgr); err != nil {
		return fmt.Errorf("set up the SeldonRuntime controller: %w", err)
	}
	if err := servers.setup(ctx, mgr); err != nil {
		return fmt.Errorf("set up the Server controller: %w", err)
	}
	return errors.Join(
		newSchedulerManaged(s, relay.Model, func() *v1alpha1.Model { return &v1alpha1.Model{} }, setModelStatus).setup(mgr),
		newSchedulerManaged(s, relay.Pipeline, func() *v1alpha1.Pipeline { return &v1alpha1.Pipeline{} }, nil).setup(mgr),
		newSchedulerManaged(s, relay.Experiment, func() *v1alpha1.Experiment { return &v1alpha1.Experiment{} }, nil).setup(mgr),
	)
}

// startInformers starts the informers of all kinds at once. By default, one is started
// when a controller first needs it, which is once the operator is the leader: then
// readiness would not cover it, and a new leader would have to wait for it.
func startInformers(ctx context.Context, informers cache.Cache) error {
	objects := []client.Object{
		&v1alpha1.SeldonRuntime{}, &v1alpha1.Model{}, &v1alpha1.Pipeline{}, &v1alpha1.Experiment{},
		&v1alpha1.SeldonConfig{}, &v1alpha1.ServerConfig{}, &appsv1.ControllerRevision{},
	}
	for _, kind := range inputs.RuntimeKinds() {
		objects = append(objects, kind.Object)
	}
	for _, object := range objects {
		if _, err := informers.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	return nil
}

// Start runs the manager until ctx ends. synced reports whether its caches are synced.
//
// A manager whose context ends before that does not return (controller-runtime v0.25,
// runnableGroup.Start: it continues to wait for the caches, using a processor). It has
// started nothing by then that must be stopped, so Start returns without it.
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

// CachesSynced returns a readiness check that passes once the caches are synced.
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
