package preview

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
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
	unverified       int
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
		p.unverified++
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
	if runtime.DeletionTimestamp != nil {
		owner.Error = "it is being deleted"
		return owner
	}
	other, err := p.resolver.ConflictingRuntime(ctx, runtime)
	if err == nil && other != "" {
		err = fmt.Errorf("SeldonRuntime %s is the older one of the namespace, and only one is served: delete one of them", other)
	}
	if err != nil {
		owner.Error = err.Error()
		return owner
	}
	input, err := p.resolver.Runtime(ctx, runtime)
	if err != nil {
		owner.Error = err.Error()
		return owner
	}
	planned, err := p.runtimes.Plan(ctx, input.Request, p.dryRuns)
	if err != nil {
		owner.Error = err.Error()
		return owner
	}
	for _, step := range planned.Steps {
		if step.Action != plan.Apply || step.DryRunError != nil || step.Err != nil || step.Ref.Kind != v1alpha1.KindServer && step.Ref.Kind != "ConfigMap" {
			continue
		}
		if step.Result.GetUID() == "" {
			step.Result.SetUID(types.UID("proposed-" + step.Ref.Name))
		}
		if err := p.Snapshot.Set(step.Result.DeepCopy()); err != nil {
			owner.Error = err.Error()
		}
	}
	p.addSteps(&owner, input.Request, planned, func() provenance.Refinement { return provenance.ForRuntime(runtime, input.Config) })
	return owner
}

// planServer plans a Server. A StatefulSet that will have fewer pods keeps the Services of
// its replicas until they are deleted: these are planned as if they were.
func (p *Planner) planServer(ctx context.Context, server *v1alpha1.Server) Owner {
	owner := Owner{Namespace: server.Namespace, Name: server.Name, Config: server.Spec.ServerConfig, Steps: []Step{}}
	if server.DeletionTimestamp != nil {
		owner.Error = "it is being deleted"
		return owner
	}
	input, err := p.resolver.Server(ctx, server)
	if err != nil {
		owner.Error = err.Error()
		return owner
	}
	planned, err := p.server.Plan(ctx, input.Request, p.dryRuns)
	if err == nil {
		planned.Prunes, err = p.prunesAfterScaling(ctx, server, planned)
	}
	if err != nil {
		owner.Error = err.Error()
		return owner
	}
	p.addSteps(&owner, input.Request, planned, func() provenance.Refinement { return provenance.ForServer(server, input.Config, nil) })
	return owner
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

// addSteps adds the steps of a plan to its owner. refine returns the refinement of the sources of fields.
func (p *Planner) addSteps(owner *Owner, request composition.Request, planned plan.Plan, refine func() provenance.Refinement) {
	origins := sync.OnceValue(func() *provenance.Origins {
		// Objects that could not be rendered have no plan.
		origins, err := provenance.Of(p.templates, request.Input, inputs.EngineOptions, refine())
		if err != nil {
			return nil
		}
		return origins
	})
	for _, step := range slices.Concat(planned.Steps, planned.Prunes) {
		converted := p.step(step, origins)
		withRemedies(&converted, request.Owner)
		owner.Steps = append(owner.Steps, converted)
		owner.Impact = max(owner.Impact, converted.Impact)
	}
}

// withRemedies adds what to do to the messages of a step that is blocked or has warnings.
func withRemedies(step *Step, owner composition.Owner) {
	remedy := func(reason plan.Reason, message string) string {
		if text := plan.Remedy(inputs.EngineOptions, reason, owner.Kind+" "+owner.Name); text != "" {
			return message + "; " + text
		}
		return message
	}
	for i, warning := range step.Warnings {
		step.Warnings[i].Message = remedy(warning.Reason, warning.Message)
	}
	if step.Verb == Block && len(step.Warnings) == 0 {
		step.Message = remedy(step.Reason, step.Message)
	}
}

// step converts a step of the engine.
func (p *Planner) step(step plan.Step, origins func() *provenance.Origins) Step {
	converted := Step{
		APIVersion: step.Ref.GroupVersion().String(), Kind: step.Ref.Kind, Name: step.Ref.Name,
		Reason: step.Reason, Message: step.Message, Evidence: step.Evidence, Unverified: step.DryRunDenied, Impact: templates.ImpactOf(step),
	}
	if step.Reason == plan.Unverified {
		// Nothing is remembered here, other than in the operator.
		converted.Reason = plan.DesiredChanged
	}
	for _, warning := range step.Warnings {
		converted.Warnings = append(converted.Warnings, Warning{warning.Reason, warning.Message})
	}
	if p.Snapshot.IsDenied(step.Ref.GroupVersionKind, step.Ref.Namespace) != nil {
		converted.Verb, converted.Impact, converted.Reason, converted.Message = Unknown, plan.ImpactNoOp, "", "it could not be read"
		return converted
	}
	if err := cmp.Or(step.Err, step.DryRunError); err != nil {
		converted.Verb, converted.Impact, converted.Message = Block, plan.ImpactNoOp, err.Error()
		converted.Reason = "Rejected"
		return converted
	}
	switch step.Action {
	case plan.Delete:
		converted.Verb = Delete
	case plan.Retain:
		converted.Verb = Retain
	case plan.Block:
		converted.Verb = Block
	case plan.Skip:
		converted.Verb = None
		if len(step.Warnings) > 0 {
			converted.Verb, converted.Reason = Block, step.Warnings[0].Reason
		}
	case plan.Apply, plan.Recreate:
		p.addChanges(&converted, step, origins)
	}
	if converted.Writes() {
		converted.Before, converted.After = printable(step.Ref, step.Live), printable(step.Ref, step.Result)
		if step.Action == plan.Delete {
			converted.After = nil
		}
	}
	stopsPods := []plan.Impact{plan.ImpactRestart, plan.ImpactOutage, plan.ImpactDelete}
	converted.Restarts = converted.Writes() && (step.Ref.Kind == "Deployment" || step.Ref.Kind == "StatefulSet") && slices.Contains(stopsPods, plan.ImpactOf(step))
	return converted
}

// addChanges sets the verb and the changes of a step that writes.
func (p *Planner) addChanges(converted *Step, step plan.Step, origins func() *provenance.Origins) {
	if step.Live == nil {
		converted.Verb = Create
		return
	}
	converted.Verb = Patch
	if step.Action == plan.Recreate {
		converted.Verb = Recreate
	}
	changes := fields.Diff(step.Ref.GroupVersionKind, fields.WithoutBookkeeping(step.Live.Object), fields.WithoutBookkeeping(step.Result.Object))
	for _, change := range fields.Mask(step.Ref.GroupKind(), changes) {
		converted.Changes = append(converted.Changes, Change{Path: change.Path, Old: change.Old, New: change.New, Source: sourceOf(origins(), step, change)})
	}
	converted.Message = "" // the path of the first change
	if len(converted.Changes) == 0 && step.Action == plan.Apply {
		// Only field ownership changes.
		converted.Verb, converted.Impact = None, plan.ImpactNoOp
	}
}

// sourceOf returns the layer that sets a field of a step's object; nil if none does.
func sourceOf(origins *provenance.Origins, step plan.Step, change fields.Change) *provenance.Source {
	if origins == nil {
		return nil
	}
	if isEngines(change.New) {
		return &provenance.Source{Layer: provenance.Engine}
	}
	if source := origins.Field(step.Ref, change.Path); source.Layer != "" {
		return &source
	}
	return nil
}

// isEngines reports whether a value is a map of labels or annotations that only the engine
// sets, such as the hash of a configuration.
func isEngines(value any) bool {
	keys, isMap := value.(map[string]any)
	for key := range keys {
		if !inputs.EngineOptions.IsReserved(key) {
			return false
		}
	}
	return isMap && len(keys) > 0
}

// printable returns the fields of an object that users see, with the values of Secrets masked;
// nil for nil.
func printable(ref composition.ObjectRef, o *unstructured.Unstructured) map[string]any {
	if o == nil {
		return nil
	}
	return fields.MaskObject(ref.GroupKind(), fields.WithoutBookkeeping(o.Object))
}

// revisionOf returns a short hash of an object's spec.
func revisionOf(o *unstructured.Unstructured) string { return shortHash(o.Object["spec"]) }

func sortOwners(owners []Owner) {
	slices.SortFunc(owners, func(a, b Owner) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// Load lists the owners in a namespace, or in all if it is empty, and what their plans read
// there. The error is that of the owners, or a failure.
func Load(ctx context.Context, into *snapshot.Snapshot, namespace string) error {
	kinds := []client.Object{&v1alpha1.SeldonRuntime{}, &v1alpha1.Model{}, &v1alpha1.Pipeline{}, &appsv1.ControllerRevision{}}
	for _, kind := range inputs.RuntimeKinds() {
		kinds = append(kinds, kind.Object)
	}
	if err := load(ctx, into, namespace, kinds); err != nil {
		return err
	}
	for _, kind := range []string{v1alpha1.KindSeldonRuntime, v1alpha1.KindServer} {
		if denied := into.IsDenied(v1alpha1.GroupVersion.WithKind(kind), namespace); denied != nil {
			return denied.Err
		}
	}
	return nil
}

// LoadConfigs lists the configurations in the operator's namespace.
func LoadConfigs(ctx context.Context, into *snapshot.Snapshot, operatorNamespace string) error {
	return load(ctx, into, operatorNamespace, []client.Object{&v1alpha1.SeldonConfig{}, &v1alpha1.ServerConfig{}})
}

// load lists kinds in a namespace, in parallel.
func load(ctx context.Context, into *snapshot.Snapshot, namespace string, kinds []client.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range kinds {
		group.Go(func() error { return into.Load(ctx, kind, namespace) })
	}
	return group.Wait()
}
