package preview

import (
	"context"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/snapshot"
	"github.com/seldon-operator/seldon-operator/inputs"
)

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
