package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/tree"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
)

const (
	// restartedAtAnnotation is the annotation of kubectl rollout restart.
	restartedAtAnnotation = "kubectl.kubernetes.io/restartedAt"
	// pendingMetadataTimeout is how long restart waits until the operator has applied pending
	// metadata.
	pendingMetadataTimeout = 30 * time.Second
)

// workloadKinds are the kinds of the workloads of owners.
var workloadKinds = []schema.GroupVersionKind{appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("StatefulSet")}

// restartCommand has the flags of restart.
type restartCommand struct {
	ownerSelection
	waitOptions
}

func newRestartCommand(f *factory) *cobra.Command {
	r := &restartCommand{ownerSelection: ownerSelection{factory: f}}
	command := &cobra.Command{
		Use:   "restart " + selectionUse,
		Short: "Restart the pods of SeldonRuntimes or Servers, and apply pending metadata",
		Long: `Restart the pods of the Deployments and StatefulSets that SeldonRuntimes or Servers own, as
"kubectl rollout restart" does: their update strategy decides how many pods restart at a time. The pods of a
SeldonRuntime's Servers are not restarted; select the Servers for that.

Labels and annotations of an owner that wait for the next rollout (condition MetadataPending) are applied
first, by the annotation ` + inputs.EngineOptions.ApplyMetadataAnnotation() + `, which is then removed. Workloads whose
pods restart thereby are not restarted a second time.`,
		Example: `  kubectl seldon restart seldonruntime/seldon -n team-a --wait
  kubectl seldon restart server -A -l accelerator=gpu`,
	}
	r.ownerSelection.bind(command)
	r.waitOptions.bind(command, "all pods are restarted")
	command.RunE = func(command *cobra.Command, args []string) error { return r.run(command.Context(), args) }
	return command
}

// workload is a Deployment or StatefulSet of an owner.
type workload struct{ *unstructured.Unstructured }

// String returns the form for output: "Deployment team-a/seldon-envoy".
func (w workload) String() string {
	return fmt.Sprintf("%s %s/%s", w.GetKind(), w.GetNamespace(), w.GetName())
}

// hasTemplateOf reports whether the pod templates of two workloads are equal.
func (w workload) hasTemplateOf(other workload) bool {
	template, _, _ := unstructured.NestedFieldNoCopy(w.Object, "spec", "template")
	otherTemplate, _, _ := unstructured.NestedFieldNoCopy(other.Object, "spec", "template")
	return equality.Semantic.DeepEqual(template, otherTemplate)
}

func (r *restartCommand) run(ctx context.Context, args []string) error {
	if err := r.validate(); err != nil {
		return err
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	owners, err := r.find(ctx, c, args)
	if err != nil {
		return err
	}
	before, err := r.workloads(ctx, c, owners)
	if err != nil {
		return err
	}
	if len(before) == 0 {
		return errors.New("the selected objects have no Deployments and StatefulSets")
	}
	applied, err := r.applyPendingMetadata(ctx, c, owners)
	if err != nil {
		return err
	}
	workloads := before
	if applied {
		if workloads, err = r.workloads(ctx, c, owners); err != nil {
			return err
		}
	}
	now := time.Now().UTC().Format(time.RFC3339)
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{restartedAtAnnotation: now}}}}})
	if err != nil {
		return err
	}
	uids := sets.Set[types.UID]{}
	for _, w := range workloads {
		uids.Insert(w.GetUID())
		if at := slices.IndexFunc(before, func(b workload) bool { return b.GetUID() == w.GetUID() }); at >= 0 && !before[at].hasTemplateOf(w) {
			r.printLine("%s: restarts with the pending metadata", w)
			continue
		}
		if err := c.Patch(ctx, w.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager)); err != nil {
			return fmt.Errorf("restart %s: %w", w, err)
		}
		r.printLine("%s: set annotation %s=%s of the pod template", w, restartedAtAnnotation, now)
	}
	if r.wait {
		start := time.Now()
		of := awaitOwners(owners, (*tree.Node).IsHealthy, "the pods are restarted")
		all := awaited{kinds: workloadKinds, namespace: of.namespace, uids: uids, done: of.done, until: of.until}
		if err := r.await(ctx, c, r.timeout, all); err != nil {
			return err
		}
		if err := r.await(ctx, c, max(r.timeout-time.Since(start), time.Second), of); err != nil {
			return err
		}
		r.note("Restarted the pods of %s.", count(len(workloads), "workload", "workloads"))
		return nil
	}
	r.note("Requested a restart of the pods of %s.", count(len(workloads), "workload", "workloads"))
	return nil
}

// workloads returns the workloads that owners control, in the order of namespace and name.
func (r *restartCommand) workloads(ctx context.Context, c client.Client, owners []owner) ([]workload, error) {
	uids := sets.Set[types.UID]{}
	for _, o := range owners {
		uids.Insert(o.UID)
	}
	namespace := awaitOwners(owners, nil, "").namespace
	var found []workload
	for _, kind := range workloadKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind.Kind, err)
		}
		for i := range list.Items {
			controller := metav1.GetControllerOfNoCopy(&list.Items[i])
			if controller != nil && uids.Has(controller.UID) && list.Items[i].GetDeletionTimestamp() == nil {
				found = append(found, workload{&list.Items[i]})
			}
		}
	}
	slices.SortFunc(found, func(a, b workload) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.String(), b.String()))
	})
	return found, nil
}

// applyPendingMetadata makes the operator apply the metadata that waits for the next rollout of
// pods. The annotation that it sets for that is removed again, since later changes of metadata
// would restart pods at once; one of the user stays.
func (r *restartCommand) applyPendingMetadata(ctx context.Context, c client.WithWatch, owners []owner) (applied bool, err error) {
	scope := awaitOwners(owners, func(n *tree.Node) bool { return !hasCondition(n, reconciler.ConditionMetadataPending) }, "pending metadata is applied")
	objects, err := tree.Read(ctx, c, tree.Scope{Namespace: scope.namespace, Only: scope.kinds})
	if err != nil {
		return false, err
	}
	key := inputs.EngineOptions.ApplyMetadataAnnotation()
	pending := awaited{kinds: scope.kinds, namespace: scope.namespace, uids: sets.Set[types.UID]{}, done: scope.done, until: scope.until}
	var annotated []owner
	// The annotations are removed also if the command is interrupted.
	defer func() {
		for _, o := range annotated {
			err = errors.Join(err, annotate(context.WithoutCancel(ctx), c, o, key, nil))
		}
	}()
	for _, n := range scope.matching(objects.Tree()) {
		if !hasCondition(n, reconciler.ConditionMetadataPending) {
			continue
		}
		o := owners[slices.IndexFunc(owners, func(o owner) bool { return o.UID == n.UID })]
		if isPaused(n) {
			r.warn("%s is paused: its pending metadata is not applied", o)
			continue
		}
		r.printLine("%s: applies pending metadata", o)
		pending.uids.Insert(n.UID)
		if o.Annotations[key] == "true" {
			continue
		}
		if err := annotate(ctx, c, o, key, new("true")); err != nil {
			return false, err
		}
		annotated = append(annotated, o)
	}
	err = r.await(ctx, c, pendingMetadataTimeout, pending)
	if exit, ok := errors.AsType[*exitError](err); ok && exit.code == exitTimeout {
		r.warn("the operator has not applied the pending metadata within %s: check that it runs", pendingMetadataTimeout)
		err = nil
	}
	return len(pending.uids) > 0, err
}

// hasCondition reports whether the operator reports a warning condition of an object.
func hasCondition(n *tree.Node, name string) bool {
	return slices.ContainsFunc(n.Children, func(child *tree.Node) bool { return child.Name == name })
}
