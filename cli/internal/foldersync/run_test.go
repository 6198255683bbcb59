package foldersync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

const (
	header      = "apiVersion: mlops.seldon.io/v1alpha1\n"
	runtimeFile = header + `kind: SeldonRuntime
metadata: {name: seldon}
spec:
  seldonConfig: default
  servers:
  - {name: mlserver, serverConfig: mlserver, replicas: 2}
`
	pipelineFile = header + `kind: Pipeline
metadata: {name: pipe}
spec: {steps: [{name: iris}], output: {steps: [iris]}}
`
	experimentFile = header + `kind: Experiment
metadata: {name: ab}
spec: {default: iris, candidates: [{name: iris, weight: 100}]}
`
)

func model(name, uri string) string {
	return header + fmt.Sprintf("kind: Model\nmetadata: {name: %s}\nspec: {storageUri: %q, requirements: [sklearn]}\n", name, uri)
}

// everything has an object of each kind, in files.
var everything = map[string]string{"runtime.yaml": runtimeFile, "iris.yaml": model("iris", "gs://iris"), "rest.yaml": pipelineFile + "---\n" + experimentFile}

// folder is a folder of files.
type folder struct {
	*testing.T
	path string
}

func newFolder(t *testing.T, files map[string]string) *folder {
	t.Helper()
	f := &folder{t, t.TempDir()}
	for name, text := range files {
		f.write(name, text)
	}
	return f
}

func (f *folder) write(name, text string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.path, name), []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
}

func (f *folder) remove(name string) {
	f.Helper()
	if err := os.Remove(filepath.Join(f.path, name)); err != nil {
		f.Fatal(err)
	}
}

// startScheduler starts a fake scheduler on a socket.
func startScheduler(t *testing.T, options fakescheduler.Options) *fakescheduler.Scheduler {
	t.Helper()
	scheduler, err := fakescheduler.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(scheduler.Kill)
	return scheduler
}

// log collects events.
type log struct {
	mu     sync.Mutex
	events []Event
}

func (l *log) report(event Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event)
}

// has reports whether an event has a reason and a text in its message.
func (l *log) has(subject, reason, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.events, func(e Event) bool {
		return strings.TrimSuffix(e.Kind+" "+e.Name, " ") == subject && e.Reason == reason && strings.Contains(e.Message, text)
	})
}

func (l *log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = nil
}

// running is a [Run] with Watch.
type running struct {
	*testing.T
	*log
	scheduler *fakescheduler.Scheduler
	stop      func() Summary
}

func start(t *testing.T, scheduler *fakescheduler.Scheduler, f *folder, change func(*Options)) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{T: t, log: &log{}, scheduler: scheduler}
	options := Options{Files: Files{Paths: []string{f.path}, Namespace: "team"}, Address: scheduler.Address(), Watch: true, Report: r.report}
	if change != nil {
		change(&options)
	}
	ended := make(chan Summary, 1)
	go func() {
		summary, err := Run(ctx, options)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		ended <- summary
	}()
	r.stop = sync.OnceValue(func() Summary {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// wait waits until a condition holds.
func (r *running) wait(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.Fatalf("%s: timeout; models %v, events %v", what, r.scheduler.Models(), r.events)
		}
	}
}

// model waits until a Model with a URI is available.
func (r *running) model(name, uri string) {
	r.Helper()
	r.wait("Model "+name, func() bool {
		return slices.ContainsFunc(r.scheduler.Models(), func(m fakescheduler.Model) bool {
			return m.Name == name && !m.Deleted && m.Definition.GetModelSpec().GetUri() == uri && m.State == pb.ModelStatus_ModelAvailable
		})
	})
}

func exists(scheduler *fakescheduler.Scheduler, name string) bool {
	return slices.ContainsFunc(scheduler.Models(), func(m fakescheduler.Model) bool { return m.Name == name && !m.Deleted })
}

// Changes of files reach the scheduler, and a restart of it loses nothing. Without Prune, and
// while a file is invalid, nothing is unloaded.
func TestWatch(t *testing.T) {
	t.Parallel()
	f := newFolder(t, everything)
	r := start(t, startScheduler(t, fakescheduler.Options{}), f, nil)
	r.model("iris", "gs://iris")
	for _, subject := range []string{"Model iris", "Pipeline pipe", "Experiment ab"} {
		r.wait(subject, func() bool { return r.has(subject, "Ready", "") })
	}
	if servers := r.scheduler.Servers(); len(servers) != 1 || servers[0].Expected != 2 {
		t.Errorf("the Servers are %v", servers)
	}

	f.write("iris.yaml", model("iris", "gs://edited"))
	r.model("iris", "gs://edited")
	if got := r.scheduler.Models()[0].Generation; got != 2 {
		t.Errorf("generation %d after an edit", got)
	}

	f.write("iris.yaml", header+"kind: Model\nmetadata: {name: iris}\nspec: {storageUri: gs://a, replicas: -1}\n")
	f.write("other.yaml", model("other", "gs://other"))
	r.wait("invalid", func() bool {
		return r.has("Files", ReasonInvalid, filepath.Join(f.path, "iris.yaml")+":4: Model team/iris: spec.replicas")
	})
	r.model("other", "gs://other")
	r.model("iris", "gs://edited")

	f.remove("iris.yaml")
	r.wait("kept", func() bool {
		return r.has("Scheduler "+r.scheduler.Address(), ReasonKept, "Model iris: --prune unloads")
	})
	r.clear()
	if err := r.scheduler.Restart(fakescheduler.RestartOptions{LoseAgents: true}); err != nil {
		t.Fatal(err)
	}
	r.model("other", "gs://other")
	f.write("iris.yaml", model("iris", "gs://again"))
	r.model("iris", "gs://again")
	for _, method := range []string{"UnloadModel", "UnloadPipeline", "StopExperiment"} {
		if calls := r.scheduler.Calls(method); calls != 0 {
			t.Errorf("%d calls of %s", calls, method)
		}
	}
	r.wait("connected", func() bool { return r.has("Scheduler "+r.scheduler.Address(), relay.ReasonSynced, "") })
	r.clear()
	if err := r.scheduler.RequestScaling("mlserver", 3); err != nil {
		t.Fatal(err)
	}
	r.wait("scaling", func() bool {
		return r.has("Server mlserver", ReasonScaling, "requests 3 replicas, and spec.replicas is 2")
	})
	if summary := r.stop(); summary.Objects != 5 || summary.Ready != 5 || summary.Problem != "" {
		t.Errorf("the summary is %+v", summary)
	}
}

// With Prune, what no file has is unloaded: when all files are valid, and have an object.
func TestPrune(t *testing.T) {
	t.Parallel()
	scheduler := startScheduler(t, fakescheduler.Options{})
	before := newFolder(t, map[string]string{"runtime.yaml": runtimeFile, "a.yaml": model("iris", "gs://iris") + "---\n" + model("old", "gs://old")})
	once(t, scheduler, before, false)

	f := newFolder(t, everything)
	f.write("invalid.yaml", "a: [")
	r := start(t, scheduler, f, func(o *Options) { o.Prune = true })
	r.wait("kept", func() bool {
		return r.has("Scheduler "+scheduler.Address(), ReasonKept, "Model old: they are unloaded when all files are valid")
	})
	if !exists(scheduler, "old") {
		t.Error("an object was unloaded while a file was invalid")
	}
	f.remove("invalid.yaml")
	r.wait("unloaded", func() bool { return r.has("Model old", ReasonUnloaded, "") && !exists(scheduler, "old") })

	f.write("new.yaml", model("new", "gs://new"))
	r.model("new", "gs://new")
	f.remove("new.yaml")
	r.wait("unloaded", func() bool { return !exists(scheduler, "new") })
	f.write("new.yaml", model("new", "gs://new"))
	r.model("new", "gs://new")

	r.clear()
	for _, name := range []string{"new.yaml", "iris.yaml", "rest.yaml", "runtime.yaml"} {
		f.remove(name)
	}
	r.wait("empty", func() bool { return r.has("Files", ReasonEmpty, "") })
	scheduler.EndStreams("SubscribeModelStatus")
	time.Sleep(time.Second)
	if !exists(scheduler, "new") || !exists(scheduler, "iris") || scheduler.Servers()[0].Expected != 2 {
		t.Errorf("objects were unloaded from an empty folder: %v, %v", scheduler.Models(), scheduler.Servers())
	}
	if err := os.RemoveAll(f.path); err != nil {
		t.Fatal(err)
	}
	r.wait("unreadable", func() bool { return r.has("Files", ReasonInvalid, "no such file or directory") })
	if !exists(scheduler, "new") {
		t.Error("an object was unloaded from an unreadable folder")
	}
}

// once runs [Run] without Watch.
func once(t *testing.T, scheduler *fakescheduler.Scheduler, f *folder, prune bool) Summary {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	events := &log{}
	summary, err := Run(ctx, Options{
		Files: Files{Paths: []string{f.path}, Namespace: "team"}, Address: scheduler.Address(), Prune: prune, Report: events.report,
	})
	if err != nil {
		t.Errorf("Run: %v, events %v", err, events.events)
	}
	return summary
}

// A new process continues with the generations of the scheduler: what has not changed is not
// loaded again, and what has changed gets the next generation.
func TestGenerations(t *testing.T) {
	t.Parallel()
	scheduler := startScheduler(t, fakescheduler.Options{})
	f := newFolder(t, everything)
	for range 2 {
		if summary := once(t, scheduler, f, false); summary.Ready != 4 {
			t.Errorf("the summary is %+v", summary)
		}
	}
	f.write("iris.yaml", model("iris", "gs://edited"))
	f.write("rest.yaml", strings.Replace(pipelineFile, "name: iris", "name: iris, joinWindowMs: 3", 1)+"---\n"+experimentFile)
	once(t, scheduler, f, false)
	if loads := scheduler.Calls("LoadModel") + scheduler.Calls("LoadPipeline"); loads != 4 {
		t.Errorf("%d loads: %v", loads, scheduler.CallsBy())
	}
	if models, pipelines := scheduler.Models(), scheduler.Pipelines(); models[0].Generation != 2 || pipelines[0].Generation != 2 {
		t.Errorf("the generations of %v and %v are not 2", models, pipelines)
	}
	f.remove("rest.yaml")
	if summary := once(t, scheduler, f, true); summary.Unloaded != 2 || summary.Kept != nil {
		t.Errorf("the summary is %+v", summary)
	}
}

// Without Watch, failures are results, and what is not ready is reported at the timeout.
func TestResults(t *testing.T) {
	t.Parallel()
	scheduler := startScheduler(t, fakescheduler.Options{})
	f := newFolder(t, everything)
	scheduler.FailModel("iris", 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	options := Options{Files: Files{Paths: []string{f.path}, Namespace: "team"}, Address: scheduler.Address(), Report: (&log{}).report}
	summary, err := Run(ctx, options)
	if !errors.Is(err, context.DeadlineExceeded) || fmt.Sprint(summary.Failed) != "[Model iris]" || len(summary.Pending) == 0 {
		t.Errorf("got %+v, %v", summary, err)
	}
	f.remove("rest.yaml")
	if summary := once(t, scheduler, f, false); fmt.Sprint(summary.Failed) != "[Model iris]" || summary.Ready != 1 {
		t.Errorf("got %+v", summary)
	}
	f.write("iris.yaml", "kind: x")
	if _, err := Run(t.Context(), options); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	f.remove("iris.yaml")
	f.write("other.yaml", header+"kind: Model\nmetadata: {name: a, namespace: b}\nspec: {storageUri: c}\n")
	f.write("server.yaml", header+"kind: Server\nmetadata: {name: mlserver}\nspec: {serverConfig: mlserver}\n")
	_, err = Run(t.Context(), options)
	for _, want := range []string{
		"other.yaml: Model b/a is in namespace b, and the scheduler serves namespace team: set -n b",
		"runtime.yaml: SeldonRuntime seldon: spec.servers[0]: Server mlserver is also in " + filepath.Join(f.path, "server.yaml"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A ConfigMap that is mounted is replaced by exchanging a link.
func TestConfigMapVolume(t *testing.T) {
	t.Parallel()
	f := newFolder(t, nil)
	link := func(version, text string) {
		if err := os.Mkdir(filepath.Join(f.path, version), 0o700); err != nil {
			t.Fatal(err)
		}
		f.write(filepath.Join(version, "models.yaml"), text)
		if err := os.Symlink(version, filepath.Join(f.path, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(f.path, "..data_tmp"), filepath.Join(f.path, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", runtimeFile+"---\n"+model("iris", "gs://1"))
	if err := os.Symlink("..data/models.yaml", filepath.Join(f.path, "models.yaml")); err != nil {
		t.Fatal(err)
	}
	r := start(t, startScheduler(t, fakescheduler.Options{}), f, func(o *Options) { o.Files.Recursive = true })
	r.model("iris", "gs://1")
	link("..2", runtimeFile+"---\n"+model("iris", "gs://2"))
	r.model("iris", "gs://2")
}

// The identity of an object changes only when it may have been unloaded.
func TestStore(t *testing.T) {
	read := func(text string) Contents {
		f := newFolder(t, map[string]string{"a.yaml": model("keep", "gs://keep") + "---\n" + text})
		return Read(Files{Paths: []string{f.path}, Namespace: "team"})
	}
	key := Key{relay.Model, "iris"}
	for _, prune := range []bool{false, true} {
		store := NewStore("team", prune)
		set := func(text string) (uid string, generation int64) {
			contents := read(text)
			if contents.Err != nil {
				t.Fatal(contents.Err)
			}
			store.Set(contents)
			if object := store.Object(key); object != nil {
				return string(object.GetUID()), object.GetGeneration()
			}
			return "", 0
		}
		first, generation := set(model("iris", "gs://1"))
		if same, again := set(model("iris", "gs://1")); same != first || again != generation {
			t.Errorf("an unchanged object is %s at %d", same, again)
		}
		if store.MayUnload(relay.Model, "iris") {
			t.Error("an object in files may be unloaded")
		}
		store.SetStatus(store.Object(key), []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue}})
		if !isConfirmed(store.Object(key)) {
			t.Error("the status was not set")
		}
		if same, changed := set(model("iris", "gs://2")); same != first || changed != 2 || isConfirmed(store.Object(key)) {
			t.Errorf("a changed object is %s at %d", same, changed)
		}
		if uid, _ := set(""); uid != "" {
			t.Error("the object was not removed")
		}
		if may := store.MayUnload(relay.Model, "iris"); may != prune {
			t.Errorf("an object that was removed may be unloaded: %v", may)
		}
		if again, changed := set(model("iris", "gs://2")); (again != first) != prune || (changed != 2) != prune {
			t.Errorf("an object that was added again is %s at %d", again, changed)
		}
	}
}
