package foldersync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// Options of [Run].
type Options struct {
	Files Files
	// Address of the scheduler, host:port, and TLS, nil for plain text.
	Address string
	TLS     *relay.TLS
	// Secrets reads the Secrets that TLS names; nil if it names none.
	Secrets client.Reader
	// Watch continues until the context ends. Otherwise [Run] returns when nothing changes
	// any more.
	Watch bool
	// Prune unloads what the scheduler has for the namespace, and no file.
	Prune bool
	// Report is called with each event, by one goroutine at a time.
	Report func(Event)
	Log    logr.Logger
}

// Summary is the state at the end of [Run].
type Summary struct {
	// Objects is the number of Models, Pipelines, Experiments and Servers in files, Ready of
	// those that the scheduler reports as ready, or was notified of.
	Objects, Ready int
	// Failed are the objects that failed, and Pending those without a result.
	Failed, Pending []Key
	// Kept are the objects that the scheduler has, and no file.
	Kept []Key
	// Unloaded is the number of objects that were unloaded.
	Unloaded int
	// Problem is why the scheduler is not in sync; empty if it is.
	Problem string
}

// kinds of objects in files.
var kinds = []relay.Kind{relay.Server, relay.Model, relay.Pipeline, relay.Experiment}

const (
	// tick is how often the status of the connection is read.
	tick = 100 * time.Millisecond
	// quiet is how long nothing may have changed before [Run] returns without Watch.
	quiet = 500 * time.Millisecond
)

// ErrInvalid is wrapped by the error of [Run] if files are unreadable or invalid: nothing was
// sent.
var ErrInvalid = errors.New("the files are invalid")

// runner is a running [Run].
type runner struct {
	Options
	store  *Store
	relay  *relay.Relay
	queues map[relay.Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]

	mu sync.Mutex
	// last has the last event of each object, results what follows from its observation.
	last    map[Key]Event
	results map[Key]result
	// changedAt is when an event was reported last.
	changedAt time.Time
	unloaded  int
}

// Run keeps a scheduler in sync with files. Without Watch, it returns when the scheduler has
// processed all objects, or when ctx ends, with the error of ctx. With Watch, it returns when
// ctx ends, without an error, and invalid files are only reported.
func Run(ctx context.Context, options Options) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &runner{
		Options: options, store: NewStore(options.Files.Namespace, options.Prune),
		queues: map[relay.Kind]workqueue.TypedRateLimitingInterface[reconcile.Request]{}, last: map[Key]Event{}, results: map[Key]result{},
	}
	changed := make(chan struct{}, 1)
	if options.Watch {
		go watch(ctx, options.Files, func() {
			select {
			case changed <- struct{}{}:
			default: // the files are read again anyway
			}
		})
	}
	contents := Read(options.Files)
	if contents.Err != nil && !options.Watch {
		return Summary{}, fmt.Errorf("%w: %w", ErrInvalid, contents.Err)
	}
	r.relay = relay.New(ctx, relay.Options{
		Reader: r.store, APIReader: withSecrets{r.store, options.Secrets}, Source: r.store, WithoutWorkloads: true,
		Address: options.Address, TLS: options.TLS, Log: options.Log,
	})
	r.store.regenerated = func(object client.Object) { r.relay.Sync(KeyOf(object).Kind, object) }
	r.store.unloaded = r.reportUnloaded
	r.set(contents)

	var running sync.WaitGroup
	running.Go(func() { _ = r.relay.Start(ctx) })
	for _, kind := range kinds {
		queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		if err := r.relay.EventSource(kind).Start(ctx, queue); err != nil {
			return Summary{}, err
		}
		r.queues[kind] = queue
		running.Go(func() { r.work(kind, queue) })
	}
	defer func() {
		cancel()
		for _, queue := range r.queues {
			queue.ShutDown()
		}
		running.Wait()
	}()
	r.relay.Open(options.Files.Namespace)
	return r.loop(ctx, changed)
}

// loop reads the files when they have changed, and reports the status of the connection.
func (r *runner) loop(ctx context.Context, changed <-chan struct{}) (Summary, error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var status relay.ConnectionStatus
	kept := ""
	for {
		select {
		case <-ctx.Done():
			if r.Watch {
				return r.summary(status), nil
			}
			return r.summary(status), context.Cause(ctx)
		case <-changed:
			r.set(Read(r.Files))
		case <-ticker.C:
		}
		before := status
		status, _ = r.relay.ConnectionStatus(r.Files.Namespace)
		r.reportConnection(before, status)
		if status.Synced {
			kept = r.reportKept(kept)
		}
		if !r.Watch && status.Synced && r.isSettled() {
			return r.summary(status), nil
		}
	}
}

// set replaces the objects by what files contain, and syncs those that have changed.
func (r *runner) set(contents Contents) {
	changed, removed := r.store.Set(contents)
	event := Event{Kind: KindFiles, Ready: metav1.ConditionTrue, Reason: ReasonRead, Message: fmt.Sprintf("%d of %d objects added or changed, %d removed", len(changed), len(contents.Objects), len(removed))}
	switch {
	case contents.Err != nil:
		event.Ready, event.Reason = metav1.ConditionFalse, ReasonInvalid
		event.Message = "nothing is unloaded, and what the invalid files defined before stays: " + strings.ReplaceAll(contents.Err.Error(), "\n", "; ")
	case len(contents.Objects) == 0:
		event.Ready, event.Reason = metav1.ConditionFalse, ReasonEmpty
		event.Message = "the files have no objects, and nothing is unloaded"
	}
	r.report(event)
	for _, key := range changed {
		r.enqueue(key)
	}
	r.mu.Lock()
	for _, key := range removed {
		delete(r.last, key)
		delete(r.results, key)
	}
	r.mu.Unlock()
	if orphans, unload := r.store.Orphans(); unload {
		for _, key := range append(orphans, removed...) {
			r.relay.ObjectDeleted(key.Kind, r.name(key))
		}
	}
}

func (r *runner) name(key Key) types.NamespacedName {
	return types.NamespacedName{Namespace: r.Files.Namespace, Name: key.Name}
}

// enqueue enqueues an object that was added or changed.
func (r *runner) enqueue(key Key) {
	if queue := r.queues[key.Kind]; queue != nil { // else Relay.Open enqueues it
		queue.Add(reconcile.Request{NamespacedName: r.name(key)})
	}
}

// work is the controller of a kind: it syncs each object in the queue with the relay, and
// reports what that returns.
func (r *runner) work(kind relay.Kind, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for {
		request, stopped := queue.Get()
		if stopped {
			return
		}
		if after := r.reconcile(Key{kind, request.Name}); after > 0 {
			queue.AddAfter(request, after)
		}
		queue.Done(request)
	}
}

// reconcile syncs an object, and returns when to do so again; 0 if that is not necessary.
func (r *runner) reconcile(key Key) time.Duration {
	object := r.store.Object(key)
	if object == nil {
		return 0
	}
	event := Event{Kind: string(key.Kind), Name: key.Name, Generation: object.GetGeneration()}
	if server, is := object.(*v1alpha1.Server); is {
		observation := r.relay.SyncServer(r.name(key))
		if observation.State == nil && observation.Scaling == nil {
			return 0
		}
		r.observeServer(&event, server, observation)
		r.reportObject(key, event, succeeded)
		return 0
	}
	observed, after := event.observe(r.relay.Sync(key.Kind, object), time.Now())
	if after > 0 {
		return after
	}
	if event.Ready != metav1.ConditionUnknown {
		r.store.SetStatus(object, []metav1.Condition{{
			Type: reconciler.ConditionReady, Status: event.Ready, Reason: event.Reason, Message: event.Message,
		}})
	}
	r.reportObject(key, event, observed)
	return 0
}

// observeServer sets what is observed about a Server in an event. A scaling request is
// reported once, and its number with every later event.
func (r *runner) observeServer(event *Event, server *v1alpha1.Server, observation relay.ServerObservation) {
	event.Ready, event.Reason = metav1.ConditionTrue, ReasonNotified
	replicas := int64(1)
	if server.Spec.Replicas != nil {
		replicas = *server.Spec.Replicas
	}
	event.Replicas = &replicas
	r.mu.Lock()
	event.RequestedReplicas = r.last[KeyOf(server)].RequestedReplicas
	r.mu.Unlock()
	if request := observation.Scaling; request != nil {
		event.RequestedReplicas = &request.Replicas
		r.relay.AckScaling(client.ObjectKeyFromObject(server), request)
	}
	if event.RequestedReplicas != nil && *event.RequestedReplicas != replicas {
		event.Reason = ReasonScaling
		event.Message = fmt.Sprintf("the scheduler requests %d replicas, and spec.replicas is %d: start or stop replicas, and change the file", *event.RequestedReplicas, replicas)
	}
}

// reportObject reports an event of an object, unless it is the same as the last one.
func (r *runner) reportObject(key Key, event Event, observed result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[key] = observed
	last, reported := r.last[key]
	if reported && last.same(&event) || !reported && event.Reason == ReasonWaiting {
		return
	}
	r.last[key] = event
	r.send(event)
}

// report reports an event that is not about an object in files.
func (r *runner) report(event Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send(event)
}

func (r *runner) send(event Event) {
	event.Time = time.Now()
	r.changedAt = event.Time
	r.Report(event)
}

func (r *runner) reportUnloaded(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unloaded++
	r.send(Event{Kind: string(key.Kind), Name: key.Name, Ready: metav1.ConditionFalse, Reason: ReasonUnloaded, Message: "no file has it"})
}

// reportConnection reports a change of the connection's status.
func (r *runner) reportConnection(before, status relay.ConnectionStatus) {
	event := Event{Kind: KindScheduler, Name: r.Address}
	switch {
	case status.Connected && status.Synced:
		if before.Connected && before.Synced {
			return
		}
		event.Ready, event.Reason, event.Message = metav1.ConditionTrue, status.SyncReason, "the scheduler was compared with the files"
	case status.Connected:
		// That the kinds are being compared is only worth a line if it lasts.
		if before.Connected && before.SyncReason == status.SyncReason && before.SyncMessage == status.SyncMessage || status.SyncReason == relay.ReasonSyncing {
			return
		}
		event.Ready, event.Reason, event.Message = metav1.ConditionFalse, status.SyncReason, status.SyncMessage
	default:
		if before.Reason == status.Reason && before.Message == status.Message || status.Reason == relay.ReasonConnecting {
			return
		}
		event.Ready, event.Reason, event.Message = metav1.ConditionFalse, status.Reason, status.Message
	}
	r.report(event)
}

// reportKept reports the orphans that are kept, if they are not those that were reported
// before, and returns them.
func (r *runner) reportKept(before string) string {
	orphans, unload := r.store.Orphans()
	if unload {
		return before
	}
	names := make([]string, len(orphans))
	for i, key := range orphans {
		names[i] = key.String()
	}
	text := strings.Join(names, ", ")
	if text == before || text == "" {
		return text
	}
	cause := "--prune unloads them"
	if r.Prune {
		cause = "they are unloaded when all files are valid"
	}
	r.report(Event{Kind: KindScheduler, Name: r.Address, Ready: metav1.ConditionTrue, Reason: ReasonKept, Message: fmt.Sprintf("no file has %s: %s", text, cause)})
	return text
}

// isSettled reports whether all objects have a result, orphans are unloaded, and nothing has
// changed for a while.
func (r *runner) isSettled() bool {
	if orphans, unload := r.store.Orphans(); unload && len(orphans) > 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.store.Keys() {
		if r.results[key] == pending && key.Kind != relay.Server {
			return false
		}
	}
	return time.Since(r.changedAt) >= quiet
}

func (r *runner) summary(status relay.ConnectionStatus) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	summary := Summary{Unloaded: r.unloaded}
	for _, key := range r.store.Keys() {
		summary.Objects++
		switch {
		case r.results[key] == succeeded || key.Kind == relay.Server && status.Synced:
			summary.Ready++
		case r.results[key] == failed:
			summary.Failed = append(summary.Failed, key)
		default:
			summary.Pending = append(summary.Pending, key)
		}
	}
	if orphans, unload := r.store.Orphans(); !unload {
		summary.Kept = orphans
	}
	switch {
	case !status.Connected:
		summary.Problem = status.Message
	case !status.Synced:
		summary.Problem = status.SyncMessage
	}
	return summary
}
