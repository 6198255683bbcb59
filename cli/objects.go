package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// Reasons of rows, beside those of conditions.
const (
	// reasonNotReconciled: the operator has not written a status of the object's generation.
	reasonNotReconciled = "NotReconciled"
	// reasonNotNotified: the scheduler was not notified of the Server.
	reasonNotNotified = "NotNotified"
)

// row is what is known about an object, from the API server or from a scheduler.
type row struct {
	Name    string                 `json:"name"`
	Ready   metav1.ConditionStatus `json:"ready"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message,omitempty"`
	// DesiredReplicas and AvailableReplicas are those of a Model, Gateway its state in the
	// model gateway.
	DesiredReplicas   *int64 `json:"desiredReplicas,omitempty"`
	AvailableReplicas *int64 `json:"availableReplicas,omitempty"`
	Gateway           string `json:"modelgwReady,omitempty"`
	// Replicas and LoadedModels are those of a Server.
	Replicas     *int64 `json:"replicas,omitempty"`
	LoadedModels *int64 `json:"loadedModels,omitempty"`
}

// column of a table.
type column struct {
	header string
	value  func(*row) string
}

func number(value *int64) string {
	if value == nil {
		return "-"
	}
	return strconv.FormatInt(*value, 10)
}

// columnsOf returns the columns of a kind. The last one may be empty.
func columnsOf(kind relay.Kind) []column {
	columns := []column{
		{"NAME", func(r *row) string { return r.Name }},
		{"READY", func(r *row) string { return string(r.Ready) }},
		{"REASON", func(r *row) string { return r.Reason }},
	}
	switch kind {
	case relay.Model:
		columns = append(columns,
			column{"DESIRED", func(r *row) string { return number(r.DesiredReplicas) }},
			column{"AVAILABLE", func(r *row) string { return number(r.AvailableReplicas) }},
			column{"MODELGW", func(r *row) string { return r.Gateway }})
	case relay.Server:
		return append(columns,
			column{"REPLICAS", func(r *row) string { return number(r.Replicas) }},
			column{"LOADED MODELS", func(r *row) string { return number(r.LoadedModels) }})
	default:
	}
	return append(columns, column{"MESSAGE", func(r *row) string { return r.Message }})
}

// printRows prints a table.
func (f *factory) printRows(kind relay.Kind, rows []row) error {
	var text strings.Builder
	writer := tabwriter.NewWriter(&text, 0, 8, 3, ' ', 0)
	columns := columnsOf(kind)
	line := func(value func(column) string) {
		values := make([]string, len(columns))
		for i, each := range columns {
			values[i] = value(each)
		}
		_, _ = fmt.Fprintln(writer, strings.Join(values, "\t"))
	}
	line(func(c column) string { return c.header })
	for i := range rows {
		line(func(c column) string { return c.value(&rows[i]) })
	}
	if err := writer.Flush(); err != nil {
		return err
	}
	for each := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(f.Streams.Out, strings.TrimRight(each, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// objectSource reads and changes Models, Pipelines, Experiments and Servers: those of the API
// server, or those of a scheduler.
type objectSource interface {
	// rows returns the objects of a kind, by name; those of one name, if it is not empty.
	rows(ctx context.Context, kind relay.Kind, name string) ([]row, error)
	// load loads an object, and reports whether it has changed.
	load(ctx context.Context, kind relay.Kind, object manifest.Object) (changed bool, err error)
	// unload starts to unload an object, and reports whether it exists. exists reports
	// whether it still does.
	unload(ctx context.Context, kind relay.Kind, name string) (existed bool, err error)
	exists(ctx context.Context, kind relay.Kind, name string) (bool, error)
	close()
}

// source returns the scheduler of --scheduler, or the API server.
func (o *schedulerOptions) source() (objectSource, error) {
	namespace, _, err := o.namespace()
	if err != nil {
		return nil, err
	}
	if o.address == "" {
		api, err := o.client()
		return &clusterObjects{api, namespace}, err
	}
	address, tls, err := o.resolve(namespace)
	if err != nil {
		return nil, err
	}
	options := relay.Options{Address: address, TLS: tls}
	if tls != nil && (tls.Secret.Name != "" || tls.ServerSecret.Name != "") {
		if options.APIReader, err = o.client(); err != nil {
			return nil, err
		}
	}
	scheduler, err := relay.New(context.Background(), options).Client(namespace)
	if err != nil {
		return nil, usageError(err)
	}
	return &schedulerObjects{scheduler, namespace, ptr.Deref(o.flags.Namespace, "") != ""}, nil
}

// clusterObjects are those of the API server.
type clusterObjects struct {
	client.Client
	namespace string
}

func (c *clusterObjects) close() {}

func (c *clusterObjects) rows(ctx context.Context, kind relay.Kind, name string) ([]row, error) {
	return readRows(ctx, c, kind, c.namespace, name)
}

// readRows returns the rows of custom resources, by name.
func readRows(ctx context.Context, reader client.Reader, kind relay.Kind, namespace, name string) ([]row, error) {
	list, _ := listOf(kind)
	selected := []client.ListOption{client.InNamespace(namespace)}
	if name != "" {
		selected = append(selected, client.MatchingFields{"metadata.name": name})
	}
	if err := reader.List(ctx, list, selected...); err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	items, err := meta.ExtractList(list)
	var rows []row
	for _, item := range items {
		rows = append(rows, rowOf(item.(statusObject)))
	}
	sortRows(rows)
	return rows, err
}

// listOf returns a list and an object of a kind.
func listOf(kind relay.Kind) (client.ObjectList, client.Object) {
	switch kind {
	case relay.Model:
		return &v1alpha1.ModelList{}, &v1alpha1.Model{}
	case relay.Pipeline:
		return &v1alpha1.PipelineList{}, &v1alpha1.Pipeline{}
	case relay.Experiment:
		return &v1alpha1.ExperimentList{}, &v1alpha1.Experiment{}
	default:
		return &v1alpha1.ServerList{}, &v1alpha1.Server{}
	}
}

func sortRows(rows []row) {
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
}

// statusObject is a custom resource with conditions.
type statusObject interface {
	reconciler.Object
	GetObservedGeneration() int64
}

// rowOf returns the row of a custom resource.
func rowOf(object statusObject) row {
	result := row{Name: object.GetName(), Ready: metav1.ConditionUnknown, Reason: reasonNotReconciled}
	observed := object.GetObservedGeneration()
	if ready := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady); ready != nil && (observed == 0 || observed == object.GetGeneration()) {
		result.Ready, result.Reason, result.Message = ready.Status, ready.Reason, ready.Message
	}
	switch typed := object.(type) {
	case *v1alpha1.Model:
		if replicas, _, _, err := typed.Spec.Bounds(); err == nil {
			result.DesiredReplicas = new(int64(replicas))
		}
		result.AvailableReplicas, result.Gateway = &typed.Status.AvailableReplicas, typed.Status.ModelGwStatus
	case *v1alpha1.Server:
		result.Replicas, result.LoadedModels = &typed.Status.Replicas, &typed.Status.LoadedModelReplicas
	}
	return result
}

func (c *clusterObjects) load(ctx context.Context, kind relay.Kind, object manifest.Object) (bool, error) {
	_, live := listOf(kind)
	if err := c.Get(ctx, client.ObjectKeyFromObject(object), live); client.IgnoreNotFound(err) != nil {
		return false, err
	}
	before, content := live.GetGeneration(), object.DeepCopy()
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(content), client.FieldOwner("kubectl-seldon"), client.ForceOwnership); err != nil {
		return false, fmt.Errorf("apply %s %s: %w", kind, client.ObjectKeyFromObject(object), err)
	}
	return content.GetGeneration() != before, nil
}

func (c *clusterObjects) unload(ctx context.Context, kind relay.Kind, name string) (bool, error) {
	_, object := listOf(kind)
	object.SetName(name)
	object.SetNamespace(c.namespace)
	err := c.Delete(ctx, object)
	return err == nil, client.IgnoreNotFound(err)
}

func (c *clusterObjects) exists(ctx context.Context, kind relay.Kind, name string) (bool, error) {
	_, object := listOf(kind)
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object)
	return err == nil, client.IgnoreNotFound(err)
}

// schedulerObjects are those of a scheduler.
type schedulerObjects struct {
	*relay.Client
	namespace string
	// filter: only list the objects of the namespace. A scheduler serves one namespace.
	filter bool
}

func (s *schedulerObjects) close() { _ = s.Close() }

func (s *schedulerObjects) selects(namespace string) bool {
	return !s.filter || namespace == s.namespace || namespace == ""
}

func (s *schedulerObjects) rows(ctx context.Context, kind relay.Kind, name string) ([]row, error) {
	var rows []row
	if kind == relay.Server {
		servers, err := s.ListServers(ctx, name)
		for i := range servers {
			if s.selects(servers[i].Namespace) {
				rows = append(rows, rowOfServer(&servers[i]))
			}
		}
		sortRows(rows)
		return rows, err
	}
	listed, err := s.List(ctx, kind, name)
	for i := range listed {
		if s.selects(listed[i].Namespace) && !listed[i].Terminated {
			rows = append(rows, rowOfListed(&listed[i]))
		}
	}
	sortRows(rows)
	return rows, err
}

// rowOfListed returns the row of a Model, Pipeline or Experiment of a scheduler.
func rowOfListed(object *relay.Listed) row {
	result := row{Name: object.Name, Ready: metav1.ConditionTrue, Reason: reconciler.ReasonReady}
	if reason, messages := object.State.Problems(); reason != "" {
		result.Ready, result.Reason, result.Message = metav1.ConditionFalse, reason, reconciler.JoinMessages(messages)
	}
	if model := object.State.Model; model != nil {
		result.DesiredReplicas, result.AvailableReplicas, result.Gateway = &object.Replicas, &model.AvailableReplicas, model.Gateway
	}
	return result
}

// rowOfServer returns the row of a Server of a scheduler.
func rowOfServer(server *relay.ListedServer) row {
	result := row{Name: server.Name, Ready: metav1.ConditionTrue, Reason: reconciler.ReasonReady, Replicas: &server.ExpectedReplicas, LoadedModels: &server.LoadedModels}
	switch {
	case server.ExpectedReplicas < 0:
		result.Ready, result.Reason, result.Replicas = metav1.ConditionUnknown, reasonNotNotified, &server.AvailableReplicas
	case server.AvailableReplicas < server.ExpectedReplicas:
		result.Ready, result.Reason = metav1.ConditionFalse, reconciler.ReasonProgressing
	}
	return result
}

// find returns the object of a name that the scheduler has; nil if it has none.
func (s *schedulerObjects) find(ctx context.Context, kind relay.Kind, name string) (*relay.Listed, error) {
	listed, err := s.List(ctx, kind, name)
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	return &listed[0], nil
}

func (s *schedulerObjects) load(ctx context.Context, kind relay.Kind, file manifest.Object) (bool, error) {
	object := file.Typed
	live, err := s.find(ctx, kind, object.GetName())
	if err != nil {
		return false, err
	}
	object.SetGeneration(1)
	if live != nil {
		exists := !live.Terminated && !live.Terminating && !live.Inactive
		if exists && live.Namespace != "" && live.Namespace != object.GetNamespace() {
			return false, fmt.Errorf("%s %s is loaded for namespace %s: set -n %s", kind, object.GetName(), live.Namespace, live.Namespace)
		}
		if exists && live.Namespace != "" && live.HasDefinition(kind, object) {
			return false, nil
		}
		object.SetGeneration(live.State.Generation + 1)
	}
	if err := s.Load(ctx, kind, object); err != nil {
		return false, fmt.Errorf("load %s %s: %w", kind, object.GetName(), err)
	}
	return true, nil
}

func (s *schedulerObjects) unload(ctx context.Context, kind relay.Kind, name string) (bool, error) {
	live, err := s.find(ctx, kind, name)
	if err != nil || live == nil || live.Terminated || live.Inactive {
		return false, err
	}
	if err := s.Unload(ctx, kind, name, live.State.Generation); err != nil {
		return false, fmt.Errorf("unload %s %s: %w", kind, name, err)
	}
	return true, nil
}

func (s *schedulerObjects) exists(ctx context.Context, kind relay.Kind, name string) (bool, error) {
	live, err := s.find(ctx, kind, name)
	return live != nil && !live.Terminated && !live.Inactive, err
}

// newKindCommands returns the commands model, pipeline, experiment and server.
func newKindCommands(f *factory) []*cobra.Command {
	var commands []*cobra.Command
	for _, kind := range []relay.Kind{relay.Model, relay.Pipeline, relay.Experiment, relay.Server} {
		name := strings.ToLower(string(kind))
		command := &cobra.Command{
			Use:   name,
			Short: fmt.Sprintf("List %ss, show their status, and wait for them", kind),
			Long: fmt.Sprintf("List %ss, show their status, and wait for them: those of the API server or, with --scheduler, those that a scheduler has.\n\n"+
				"The columns and exit codes are the same.", kind),
			Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
		}
		for _, each := range []*cobra.Command{newListCommand(f, kind), newStatusCommand(f, kind), newWaitCommand(f, kind)} {
			each.Args = asUsage(each.Args)
			command.AddCommand(each)
		}
		commands = append(commands, command)
	}
	return commands
}

// kindOptions are the flags of the commands about one kind.
type kindOptions struct {
	schedulerOptions
	kind   relay.Kind
	output string
}

func (o *kindOptions) bindOutput(command *cobra.Command) {
	command.Flags().StringVarP(&o.output, "output", "o", "text", "text, json or name")
	completeValues(command, "output", "text", "json", "name")
}

// completeObjects completes the names of objects in the cluster.
func (o *kindOptions) completeObjects(command *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if o.address != "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeNames(command.Context(), string(o.kind), prefix), cobra.ShellCompDirectiveNoFileComp
}

func (o *kindOptions) print(rows []row) error {
	switch o.output {
	case "json":
		if rows == nil {
			rows = []row{}
		}
		return printStructured(o.Streams.Out, rows, o.output)
	case "name":
		for _, each := range rows {
			if _, err := fmt.Fprintf(o.Streams.Out, "%s/%s\n", strings.ToLower(string(o.kind)), each.Name); err != nil {
				return err
			}
		}
		return nil
	case "text":
		if len(rows) == 0 {
			return nil
		}
		return o.printRows(o.kind, rows)
	default:
		return usageError(fmt.Errorf("--output=%s: must be text, json or name", o.output))
	}
}

// closing prints one sentence about rows.
func (o *kindOptions) closing(rows []row) {
	ready := 0
	for _, each := range rows {
		if each.Ready == metav1.ConditionTrue {
			ready++
		}
	}
	o.note("%d of %s ready.", ready, count(len(rows), string(o.kind)+" is", string(o.kind)+"s are"))
}

func newListCommand(f *factory, kind relay.Kind) *cobra.Command {
	o := &kindOptions{schedulerOptions: schedulerOptions{factory: f}, kind: kind}
	command := &cobra.Command{
		Use:   "list",
		Short: fmt.Sprintf("List %ss", kind),
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			source, err := o.source()
			if err != nil {
				return err
			}
			defer source.close()
			rows, err := source.rows(command.Context(), kind, "")
			if err != nil {
				return err
			}
			if err := o.print(rows); err != nil {
				return err
			}
			o.closing(rows)
			return nil
		},
	}
	o.bind(command.Flags())
	o.bindOutput(command)
	return command
}

func newStatusCommand(f *factory, kind relay.Kind) *cobra.Command {
	o := &kindOptions{schedulerOptions: schedulerOptions{factory: f}, kind: kind}
	command := &cobra.Command{
		Use:   "status NAME...",
		Short: fmt.Sprintf("Show the status of %ss; exit with 1 if one does not exist", kind),
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, names []string) error {
			source, err := o.source()
			if err != nil {
				return err
			}
			defer source.close()
			rows, missing, err := o.named(command.Context(), source, names)
			if err != nil {
				return err
			}
			if err := o.print(rows); err != nil {
				return err
			}
			if len(missing) > 0 {
				return fmt.Errorf("%s not found: %s", kind, strings.Join(missing, ", "))
			}
			o.closing(rows)
			return nil
		},
	}
	command.ValidArgsFunction = o.completeObjects
	o.bind(command.Flags())
	o.bindOutput(command)
	return command
}

// named returns the rows of objects, and the names that do not exist.
func (o *kindOptions) named(ctx context.Context, source objectSource, names []string) (rows []row, missing []string, _ error) {
	for _, name := range names {
		found, err := source.rows(ctx, o.kind, name)
		if err != nil {
			return nil, nil, err
		}
		if len(found) == 0 {
			missing = append(missing, name)
		}
		rows = append(rows, found...)
	}
	return rows, missing, nil
}

// pollInterval is the time between the reads of commands that wait.
const pollInterval = 500 * time.Millisecond

// States that wait waits for.
const (
	stateReady     = "ready"
	stateAvailable = "available"
)

func newWaitCommand(f *factory, kind relay.Kind) *cobra.Command {
	o := &kindOptions{schedulerOptions: schedulerOptions{factory: f}, kind: kind}
	var state string
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "wait NAME...",
		Short: fmt.Sprintf("Wait until %ss are ready; exit with 124 at the timeout", kind),
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, names []string) error {
			state = strings.ToLower(state)
			if state != stateReady && state != stateAvailable {
				return usageError(fmt.Errorf("--for=%s: must be ready or available", state))
			}
			return o.wait(command.Context(), names, timeout, func(r *row) bool {
				if state == stateAvailable && r.AvailableReplicas != nil {
					return *r.AvailableReplicas > 0
				}
				return r.Ready == metav1.ConditionTrue
			})
		},
	}
	command.ValidArgsFunction = o.completeObjects
	o.bind(command.Flags())
	o.bindOutput(command)
	command.Flags().StringVar(&state, "for", stateReady, "ready, or available for a Model of which at least one replica is available")
	completeValues(command, "for", stateReady, stateAvailable)
	command.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return command
}

// wait waits until all named objects are done, and prints their rows.
func (o *kindOptions) wait(ctx context.Context, names []string, timeout time.Duration, done func(*row) bool) error {
	source, err := o.source()
	if err != nil {
		return err
	}
	defer source.close()
	var rows []row
	var missing []string
	var lastErr error
	err = poll(ctx, timeout, func(ctx context.Context) bool {
		found, absent, err := o.named(ctx, source, names)
		if ctx.Err() != nil {
			return false
		}
		if lastErr = err; err != nil {
			return false
		}
		rows, missing = found, absent
		return len(absent) == 0 && !slices.ContainsFunc(rows, func(r row) bool { return !done(&r) })
	})
	if printErr := o.print(rows); printErr != nil {
		return printErr
	}
	switch {
	case err == nil:
		o.closing(rows)
		return nil
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case lastErr != nil:
		return &exitError{exitTimeout, fmt.Errorf("timeout after %s: %w", timeout, lastErr)}
	}
	pending := missing
	for i := range rows {
		if !done(&rows[i]) {
			pending = append(pending, rows[i].Name)
		}
	}
	return &exitError{exitTimeout, fmt.Errorf("timeout after %s: not ready: %s", timeout, strings.Join(pending, ", "))}
}

// poll calls done until it returns true, and returns the error of ctx if that ends before.
func poll(ctx context.Context, timeout time.Duration, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		if done(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}
