package preview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/cli/internal/snapshot"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// parallel is the number of namespaces that are planned at the same time.
const parallel = 8

// Planner plans owners. It is used once.
type Planner struct {
	// Snapshot has the objects of the namespaces to plan.
	Snapshot *snapshot.Snapshot
	Operator *operator.Operator
	// Version of this program.
	Version string
	// Files are the proposed objects.
	Files []*unstructured.Unstructured

	resolver         *inputs.Resolver
	templates        *composition.Templates
	runtimes, server *composition.Engine
	dryRuns          *composition.DryRuns
	configs          []Config
	// unverified are proposed objects whose dry-run is not permitted.
	unverified []string
}

// Selection is what to plan.
type Selection struct {
	// Namespace of the owners; empty for all.
	Namespace string
	// Runtime or Server is the name of the one owner to plan; a runtime with the Servers of
	// its namespace. At most one is set.
	Runtime, Server string
}

// Plan proposes the files and plans the selected owners. The error is that of a file, or of
// reading a runtime or Server that is selected; all others are in the report.
func (p *Planner) Plan(ctx context.Context, selection Selection) (*Report, error) {
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	for _, file := range p.Files {
		if err := p.setProposed(ctx, file); err != nil {
			return nil, err
		}
	}
	runtimes := &v1alpha1.SeldonRuntimeList{}
	servers := &v1alpha1.ServerList{}
	for _, list := range []client.ObjectList{runtimes, servers} {
		if err := p.Snapshot.List(ctx, list, client.InNamespace(selection.Namespace)); err != nil {
			return nil, err
		}
	}
	report := &Report{APIVersion: APIVersion, Kind: Kind, TemplatesVersion: p.Version, Configs: p.configs, Runtimes: []Owner{}}
	if p.Operator != nil {
		report.OperatorVersion = p.Operator.Version
	}
	byNamespace := map[string][]*v1alpha1.SeldonRuntime{}
	var namespaces []string
	add := func(namespace string) {
		if !slices.Contains(namespaces, namespace) {
			namespaces = append(namespaces, namespace)
		}
	}
	for i := range runtimes.Items {
		runtime := &runtimes.Items[i]
		if selection.Server == "" && (selection.Runtime == "" || selection.Runtime == runtime.Name) {
			byNamespace[runtime.Namespace] = append(byNamespace[runtime.Namespace], runtime)
			add(runtime.Namespace)
		}
	}
	for i := range servers.Items {
		add(servers.Items[i].Namespace)
	}
	if selection.Runtime != "" && len(byNamespace) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "seldonruntimes"}, selection.Runtime)
	}
	type planned struct{ runtimes, servers []Owner }
	results := make([]planned, len(namespaces))
	workqueue.ParallelizeUntil(ctx, parallel, len(namespaces), func(i int) {
		results[i].runtimes, results[i].servers = p.planNamespace(ctx, namespaces[i], byNamespace[namespaces[i]], selection.Server)
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, result := range results {
		report.Runtimes = append(report.Runtimes, result.runtimes...)
		report.Servers = append(report.Servers, result.servers...)
	}
	if selection.Server != "" && len(report.Servers) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "servers"}, selection.Server)
	}
	sortOwners(report.Runtimes)
	sortOwners(report.Servers)
	report.Denied = p.unverified
	for _, denied := range p.Snapshot.Denied() {
		report.Denied = append(report.Denied, denied.String())
	}
	report.summarize()
	return report, nil
}

// start creates the engines.
func (p *Planner) start(ctx context.Context) error {
	var err error
	if p.templates, err = composition.LoadTemplates(templates.Files, templates.AnnotationPrefix); err != nil {
		return err
	}
	if err := composition.Index(ctx, p.Snapshot, inputs.RuntimeKinds()); err != nil {
		return err
	}
	config := composition.Config{Options: inputs.EngineOptions, Templates: p.templates, Kinds: inputs.RuntimeKinds(), Client: p.Snapshot, APIReader: p.Snapshot}
	if p.runtimes, err = composition.New(config); err != nil {
		return err
	}
	config.Kinds = inputs.ServerKinds()
	if p.server, err = composition.New(config); err != nil {
		return err
	}
	p.dryRuns = composition.NewDryRuns()
	p.resolver = &inputs.Resolver{
		Reader: p.Snapshot, Namespace: p.Operator.Namespace,
		UseDeployments: p.Operator.UseDeployments, MaxReplicasPerServer: p.Operator.MaxReplicasPerServer,
	}
	return nil
}

// setProposed sets the object of a file in the snapshot.
func (p *Planner) setProposed(ctx context.Context, file *unstructured.Unstructured) error {
	file = file.DeepCopy()
	isConfig := file.GetKind() == v1alpha1.KindSeldonConfig || file.GetKind() == v1alpha1.KindServerConfig
	if isConfig {
		file.SetNamespace(p.Operator.Namespace)
	}
	proposed, unverified, err := p.propose(ctx, file)
	if err != nil {
		return err
	}
	if unverified {
		p.unverified = append(p.unverified, fmt.Sprintf("a dry-run of %s %s/%s, which is planned without the API server's defaults and validation", file.GetKind(), file.GetNamespace(), file.GetName()))
	}
	if proposed.GetUID() == "" {
		proposed.SetUID(types.UID("proposed-" + file.GetName()))
	}
	if proposed.GetCreationTimestamp().Time.IsZero() {
		proposed.SetCreationTimestamp(metav1.Now())
	}
	if isConfig {
		config := Config{Kind: file.GetKind(), Namespace: file.GetNamespace(), Name: file.GetName(), To: revisionOf(proposed)}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(file.GroupVersionKind())
		if err := p.Snapshot.Get(ctx, client.ObjectKeyFromObject(file), live); err == nil {
			config.From = revisionOf(live)
		}
		p.configs = append(p.configs, config)
	}
	return p.Snapshot.Set(proposed)
}

// planNamespace plans runtimes, which are all or one of a namespace, and then its Servers: all
// or the one of that name.
func (p *Planner) planNamespace(ctx context.Context, namespace string, runtimes []*v1alpha1.SeldonRuntime, onlyServer string) (planned, independent []Owner) {
	deleted := map[string]bool{}
	for _, runtime := range runtimes {
		owner := p.planRuntime(ctx, runtime)
		for _, step := range owner.Steps {
			if step.Kind == v1alpha1.KindServer && step.Verb == Delete {
				deleted[step.Name] = true
			}
		}
		planned = append(planned, owner)
	}
	servers := &v1alpha1.ServerList{}
	if err := p.Snapshot.List(ctx, servers, client.InNamespace(namespace)); err != nil {
		return planned, []Owner{{Namespace: namespace, Error: err.Error()}}
	}
	for i := range servers.Items {
		server := &servers.Items[i]
		if deleted[server.Name] || onlyServer != "" && server.Name != onlyServer {
			continue
		}
		owner := p.planServer(ctx, server)
		parent := slices.IndexFunc(runtimes, func(runtime *v1alpha1.SeldonRuntime) bool { return metav1.IsControlledBy(server, runtime) })
		if parent < 0 {
			independent = append(independent, owner)
			continue
		}
		planned[parent].Servers = append(planned[parent].Servers, owner)
		planned[parent].Impact = max(planned[parent].Impact, owner.Impact)
	}
	return planned, independent
}

// planRuntime plans a runtime, and sets its changed Servers and ConfigMaps in the snapshot.
func (p *Planner) planRuntime(ctx context.Context, runtime *v1alpha1.SeldonRuntime) Owner {
	owner := Owner{Namespace: runtime.Namespace, Name: runtime.Name, Config: runtime.Spec.SeldonConfig, Steps: []Step{}}
	if err := p.addRuntime(ctx, &owner, runtime); err != nil {
		owner.Error = err.Error()
	}
	return owner
}

// errTerminating is the error of an owner that is being deleted.
var errTerminating = errors.New("it is being deleted")

// addRuntime adds the steps of a runtime to its owner.
func (p *Planner) addRuntime(ctx context.Context, owner *Owner, runtime *v1alpha1.SeldonRuntime) error {
	if runtime.DeletionTimestamp != nil {
		return errTerminating
	}
	other, err := p.resolver.ConflictingRuntime(ctx, runtime)
	if err == nil && other != "" {
		err = fmt.Errorf("SeldonRuntime %s is the older one of the namespace, and only one is served: delete one of them", other)
	}
	if err != nil {
		return err
	}
	input, err := p.resolver.Runtime(ctx, runtime)
	if err != nil {
		return err
	}
	planned, err := p.runtimes.Plan(ctx, input.Request, p.dryRuns)
	if err != nil {
		return err
	}
	for _, step := range planned.Steps {
		if step.Action != plan.Apply || step.DryRunError != nil || step.Err != nil || step.Ref.Kind != v1alpha1.KindServer && step.Ref.Kind != "ConfigMap" {
			continue
		}
		if step.Result.GetUID() == "" {
			step.Result.SetUID(types.UID("proposed-" + step.Ref.Name))
		}
		if err := p.Snapshot.Set(step.Result.DeepCopy()); err != nil {
			return err
		}
	}
	p.addSteps(owner, input.Request, planned, func() provenance.Refinement { return provenance.ForRuntime(runtime, input.Config) })
	return nil
}

// planServer plans a Server. A StatefulSet that will have fewer pods keeps the Services of
// its replicas until they are deleted: these are planned as if they were.
func (p *Planner) planServer(ctx context.Context, server *v1alpha1.Server) Owner {
	owner := Owner{Namespace: server.Namespace, Name: server.Name, Config: server.Spec.ServerConfig, Steps: []Step{}}
	if err := p.addServer(ctx, &owner, server); err != nil {
		owner.Error = err.Error()
	}
	return owner
}

// addServer adds the steps of a Server to its owner.
func (p *Planner) addServer(ctx context.Context, owner *Owner, server *v1alpha1.Server) error {
	if server.DeletionTimestamp != nil {
		return errTerminating
	}
	input, err := p.resolver.Server(ctx, server)
	if err != nil {
		return err
	}
	planned, err := p.server.Plan(ctx, input.Request, p.dryRuns)
	if err == nil {
		planned.Prunes, err = p.prunesAfterScaling(ctx, server, planned)
	}
	if err != nil {
		return err
	}
	p.addSteps(owner, input.Request, planned, func() provenance.Refinement { return provenance.ForServer(server, input.Config, nil) })
	return nil
}

// prunesAfterScaling returns the prunes of a Server's plan when its workload has scaled down.
func (p *Planner) prunesAfterScaling(ctx context.Context, server *v1alpha1.Server, planned plan.Plan) ([]plan.Step, error) {
	workload := p.resolver.Workload(server)
	index := slices.IndexFunc(planned.Steps, func(step plan.Step) bool { return step.Ref == workload && step.Result != nil && step.Live != nil })
	if index < 0 {
		return planned.Prunes, nil
	}
	result := planned.Steps[index].Result.DeepCopy()
	desired, _, _ := unstructured.NestedInt64(result.Object, "spec", "replicas")
	observed, _, _ := unstructured.NestedInt64(result.Object, "status", "replicas")
	if observed <= desired {
		return planned.Prunes, nil
	}
	if err := unstructured.SetNestedField(result.Object, desired, "status", "replicas"); err != nil {
		return nil, err
	}
	if err := p.Snapshot.Set(result); err != nil {
		return nil, err
	}
	input, err := p.resolver.Server(ctx, server)
	if err != nil {
		return nil, err
	}
	scaled, err := p.server.Plan(ctx, input.Request, p.dryRuns)
	return scaled.Prunes, err
}

func sortOwners(owners []Owner) {
	slices.SortFunc(owners, func(a, b Owner) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
