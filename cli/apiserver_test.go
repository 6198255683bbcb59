package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// fakeServer serves objects of a file over the API server's protocol, and records requests. It
// serves GET and LIST, applies merge patches, and sends watch events of the test.
type fakeServer struct {
	*httptest.Server
	kubeconfig string
	mutex      sync.Mutex
	objects    []*unstructured.Unstructured
	requests   []string
	// status returns the status code to reject a request with, or 0.
	status func(verb, resource, namespace string) int
	// events are sent to the watches of their kind.
	events chan metav1.WatchEvent
}

var placeholder = regexp.MustCompile(`\$\{(\d+)([dhms])\}`)

// newFakeServer serves the objects of a file of YAML documents.
func newFakeServer(t *testing.T, file string) *fakeServer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	text = placeholder.ReplaceAllFunc(text, func(match []byte) []byte {
		parts := placeholder.FindSubmatch(match)
		unit := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second}[string(parts[2])]
		number, _ := time.ParseDuration(string(parts[1]) + "ns")
		return []byte(now.Add(-time.Duration(number.Nanoseconds())*unit - 500*time.Millisecond).UTC().Format(time.RFC3339))
	})
	server := &fakeServer{events: make(chan metav1.WatchEvent)}
	for document := range strings.SplitSeq(string(text), "---\n") {
		content, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			t.Fatal(err)
		}
		server.objects = append(server.objects, object)
	}
	server.Server = httptest.NewServer(server)
	t.Cleanup(server.Close)
	server.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test"}
	config.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*config, server.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return server
}

var requestPath = regexp.MustCompile(`^/(?:api|apis/([^/]+))/([^/]+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?$`)

// ServeHTTP implements [http.Handler].
func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	match := requestPath.FindStringSubmatch(r.URL.Path)
	if match == nil {
		http.NotFound(w, r)
		return
	}
	group, version, namespace, resource, name := match[1], match[2], match[3], match[4], match[5]
	verb := strings.ToLower(r.Method)
	if verb == "get" && name == "" {
		verb = "list"
	}
	if r.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	full := strings.TrimSuffix(resource+"."+group, ".")
	s.mutex.Lock()
	s.requests = append(s.requests, verb+" "+strings.TrimSuffix(namespace+"/"+full+"/"+name, "/"))
	s.mutex.Unlock()
	if s.status != nil {
		if code := s.status(verb, full, namespace); code != 0 {
			s.reject(w, code)
			return
		}
	}
	selected, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name="), ",")
	if verb != "list" && verb != "watch" {
		selected = name
	}
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		s.reject(w, http.StatusBadRequest)
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var items []any
	var found *unstructured.Unstructured
	for _, object := range s.objects {
		plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
		if plural.Group == group && plural.Resource == resource && (namespace == "" || object.GetNamespace() == namespace) && (selected == "" || object.GetName() == selected) && byLabel.Matches(labels.Set(object.GetLabels())) {
			items = append(items, object.Object)
			found = object
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch verb {
	case "list":
		kind := listKind(schema.GroupVersionResource{Group: group, Version: version, Resource: resource})
		if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
			kind, group, version = "PartialObjectMetadataList", "meta.k8s.io", "v1"
		}
		s.write(w, map[string]any{"apiVersion": strings.TrimPrefix(group+"/"+version, "/"), "kind": kind, "metadata": map[string]any{"resourceVersion": "1"}, "items": items})
	case "watch":
		s.mutex.Unlock()
		s.serveWatch(w, r, resource)
		s.mutex.Lock()
	case "patch":
		if found == nil {
			s.reject(w, http.StatusNotFound)
			return
		}
		patch := map[string]any{}
		if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
			s.reject(w, http.StatusBadRequest)
			return
		}
		mergeInto(found.Object, patch)
		s.write(w, found.Object)
	default:
		if found == nil {
			s.reject(w, http.StatusNotFound)
			return
		}
		s.write(w, found.Object)
	}
}

// serveWatch sends events of the resource until the client closes the connection.
func (s *fakeServer) serveWatch(w http.ResponseWriter, r *http.Request, resource string) {
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-s.events:
			object, _ := event.Object.Object.(*unstructured.Unstructured)
			if plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()); plural.Resource != resource {
				go func() { s.events <- event }()
				time.Sleep(time.Millisecond)
				continue
			}
			s.write(w, map[string]any{"type": event.Type, "object": object.Object})
			flusher.Flush()
		}
	}
}

// listKind returns the kind of lists of a resource, which typed clients decode.
func listKind(resource schema.GroupVersionResource) string {
	for kind := range newFactory(Config{}).scheme.KnownTypes(resource.GroupVersion()) {
		if plural, _ := meta.UnsafeGuessKindToResource(resource.GroupVersion().WithKind(kind)); plural.Resource == resource.Resource {
			return kind + "List"
		}
	}
	return "List"
}

func (s *fakeServer) write(w http.ResponseWriter, object any) { _ = json.NewEncoder(w).Encode(object) }

func (s *fakeServer) reject(w http.ResponseWriter, code int) {
	reason := map[int]metav1.StatusReason{http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusGone: metav1.StatusReasonExpired}[code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	s.write(w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: "rejected by the test"})
}

// mergeInto applies a JSON merge patch.
func mergeInto(object, patch map[string]any) {
	for key, value := range patch {
		nested, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(object, key)
		case isMap:
			existing, ok := object[key].(map[string]any)
			if !ok {
				existing = map[string]any{}
				object[key] = existing
			}
			mergeInto(existing, nested)
		default:
			object[key] = value
		}
	}
}

// get returns an object.
func (s *fakeServer) get(kind, namespace, name string) *unstructured.Unstructured {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	at := slices.IndexFunc(s.objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetNamespace() == namespace && o.GetName() == name
	})
	return s.objects[at].DeepCopy()
}

// sent returns the requests that were received, sorted.
func (s *fakeServer) sent() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Sorted(slices.Values(s.requests))
}

// result is what a command printed, and its exit code.
type result struct {
	out, err string
	code     int
}

// buffer is a buffer that is safe for concurrent use.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

// runCommand runs a command with a server, in a locale with UTF-8.
func runCommand(ctx context.Context, t *testing.T, server *fakeServer, out *buffer, args ...string) result {
	t.Helper()
	stderr := &buffer{}
	config := Config{Name: "kubectl seldon", Version: "0.1.0", Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: stderr}}
	t.Setenv("KUBECONFIG", server.kubeconfig)
	code := Run(ctx, config, args)
	return result{out.String(), stderr.String(), code}
}

// isolate sets the variables of the environment that change the output.
func isolate(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{"COLUMNS": "", "LC_ALL": "C.UTF-8", "NO_COLOR": "", "FORCE_COLOR": "", "CLICOLOR_FORCE": ""} {
		t.Setenv(name, value)
	}
}

// expectGolden compares text with a file of testdata.
func expectGolden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run the test with -update and review the change. Got:\n%s", file, text)
	}
}
