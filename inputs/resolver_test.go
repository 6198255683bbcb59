package inputs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

const operatorNamespace, team = "seldon-system", "team"

// newResolver returns a Resolver over a plain client for objects.
func newResolver(t *testing.T, objects ...client.Object) *Resolver {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return &Resolver{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Namespace: operatorNamespace}
}

func newConfig(version string) *v1alpha1.SeldonConfig {
	return &v1alpha1.SeldonConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "default", Labels: map[string]string{"version": version}},
	}
}

func newRuntime(name string) *v1alpha1.SeldonRuntime {
	return &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name, UID: types.UID(name)},
		Spec:       v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"},
	}
}

func TestMissingConfig(t *testing.T) {
	resolver := newResolver(t)
	for name, want := range map[string]string{
		"":        "spec.seldonConfig is empty; set it to the name of a SeldonConfig in namespace seldon-system",
		"default": `spec.seldonConfig: there is no SeldonConfig "default" in namespace seldon-system`,
	} {
		owner := newRuntime("seldon")
		owner.Spec.SeldonConfig = name
		_, err := resolver.Runtime(t.Context(), owner)
		if _, is := errors.AsType[*ConfigNotFoundError](err); !is || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
}

func TestAnnotationsOfTheRequest(t *testing.T) {
	resolver := newResolver(t, newConfig("1"))
	for annotation, get := range map[string]func(composition.Request) bool{
		v1alpha1.PausedAnnotation:        func(r composition.Request) bool { return r.Paused },
		v1alpha1.AllowRestartAnnotation:  func(r composition.Request) bool { return r.AllowRestarts },
		v1alpha1.ApplyMetadataAnnotation: func(r composition.Request) bool { return r.ApplyMetadata },
	} {
		for value, want := range map[string]bool{"true": true, "false": false} {
			owner := newRuntime("seldon")
			owner.Annotations = map[string]string{annotation: value}
			result, err := resolver.Runtime(t.Context(), owner)
			if err != nil || get(result.Request) != want {
				t.Errorf("%s=%s: %t, %v", annotation, value, get(result.Request), err)
			}
		}
	}
}

// A configuration stays pinned until the object's spec changes, and pins are deleted once
// the object is not pinned any more.
func TestPins(t *testing.T) {
	resolver := newResolver(t, newConfig("1"))
	c := resolver.Reader.(client.Client)
	owner := newRuntime("seldon")
	owner.Spec.DisableAutoUpdate = true
	resolve := func(creates bool, deletes int) {
		t.Helper()
		result, err := resolver.Runtime(t.Context(), owner)
		if err != nil || (result.Pins.Create != nil) != creates || len(result.Pins.Delete) != deletes {
			t.Fatalf("creates %t, deletes %d, %v; want %t, %d", result.Pins.Create != nil, len(result.Pins.Delete), err, creates, deletes)
		}
		if creates {
			if err := c.Create(t.Context(), result.Pins.Create); err != nil {
				t.Fatal(err)
			}
		}
		for i := range result.Pins.Delete {
			if err := c.Delete(t.Context(), &result.Pins.Delete[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	pinned := func(want string) {
		t.Helper()
		config := &v1alpha1.SeldonConfig{}
		hash, err := rolloutHash(owner.Spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = resolver.resolveConfig(t.Context(), owner, runtimeKind, hash, true, config, func() error { return errors.New("not pinned") })
		if err != nil || config.Labels["version"] != want {
			t.Errorf("version %q is pinned, want %q: %v", config.Labels["version"], want, err)
		}
	}
	resolve(true, 0)
	resolve(false, 0)
	if err := errors.Join(c.Delete(t.Context(), newConfig("1")), c.Create(t.Context(), newConfig("2"))); err != nil {
		t.Fatal(err)
	}
	resolve(false, 0)
	pinned("1")
	owner.Generation++
	owner.Spec.Overrides = []v1alpha1.OverrideSpec{{Name: "seldon-envoy", Disable: true}}
	resolve(true, 1)
	pinned("2")
	owner.Spec.DisableAutoUpdate = false
	resolve(false, 1)
	resolve(false, 0)
}

// The type of a Service of a previous operator is kept, whether or not the cache shows
// that it was adopted.
func TestAdoptedServiceTypes(t *testing.T) {
	owner := newRuntime("seldon")
	service := func(name string, change func(*corev1.Service)) *corev1.Service {
		object := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, runtimeKind)}},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort},
		}
		change(object)
		return object
	}
	adopted := func(s *corev1.Service) {
		s.Labels = map[string]string{EngineOptions.OwnerLabel(): "seldonruntime"}
		s.Annotations = map[string]string{templates.AdoptedServiceTypeAnnotation: "ClusterIP"}
	}
	for name, test := range map[string]struct {
		cached, live []client.Object
		created      bool // after the operator started
		want         map[string]corev1.ServiceType
	}{
		"new":               {want: map[string]corev1.ServiceType{}},
		"not adopted yet":   {live: []client.Object{service(v1alpha1.MeshService, func(*corev1.Service) {})}, want: map[string]corev1.ServiceType{v1alpha1.MeshService: corev1.ServiceTypeNodePort}},
		"of a new runtime":  {created: true, live: []client.Object{service(v1alpha1.MeshService, func(*corev1.Service) {})}, want: map[string]corev1.ServiceType{}},
		"of another owner":  {live: []client.Object{service(v1alpha1.MeshService, func(s *corev1.Service) { s.OwnerReferences = nil })}, want: map[string]corev1.ServiceType{}},
		"adopted":           {cached: []client.Object{service(v1alpha1.MeshService, adopted)}, want: map[string]corev1.ServiceType{v1alpha1.MeshService: corev1.ServiceTypeClusterIP}},
		"adopted right now": {live: []client.Object{service(v1alpha1.MeshService, adopted)}, want: map[string]corev1.ServiceType{v1alpha1.MeshService: corev1.ServiceTypeClusterIP}},
	} {
		t.Run(name, func(t *testing.T) {
			resolver := newResolver(t, test.cached...)
			resolver.APIReader = newResolver(t, test.live...).Reader
			resolver.IsPreexisting = func(types.UID) bool { return !test.created }
			got, err := resolver.adoptedServiceTypes(t.Context(), owner)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestConflictingRuntime(t *testing.T) {
	older, younger, same := newRuntime("b"), newRuntime("a"), newRuntime("c")
	now := metav1.Now().Rfc3339Copy()
	older.CreationTimestamp, same.CreationTimestamp = metav1.NewTime(now.Add(-1e9)), metav1.NewTime(now.Add(-1e9))
	younger.CreationTimestamp = now
	other := newRuntime("0")
	other.Namespace = "other"
	resolver := newResolver(t, older, younger, same, other)
	for runtime, want := range map[*v1alpha1.SeldonRuntime]string{older: "", same: "b", other: ""} {
		if got, err := resolver.ConflictingRuntime(t.Context(), runtime); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", runtime.Name, got, err, want)
		}
	}
	if got, err := resolver.ConflictingRuntime(t.Context(), younger); err != nil || got == "" {
		t.Errorf("a: got %q, %v, want an older one", got, err)
	}
}

// A Server is resolved with its live replicas, its limits and the configuration that its
// pods read at start.
func TestServer(t *testing.T) {
	server := &v1alpha1.Server{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "mlserver", UID: "server"},
		Spec:       v1alpha1.ServerSpec{ServerConfig: "mlserver", ScalingSpec: v1alpha1.ScalingSpec{Replicas: new(int64(5))}},
	}
	config := &v1alpha1.ServerConfig{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "mlserver"}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "mlserver"}, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(4))}}
	kafka := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: team, Name: "seldon-kafka", OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(newRuntime("seldon"), runtimeKind)},
	}, Data: map[string]string{"kafka.json": "{}"}}
	tracing := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "seldon-tracing"}, Data: map[string]string{"a": "b"}}
	resolver := newResolver(t, config, kafka, tracing)
	resolver.APIReader = newResolver(t, set).Reader
	resolver.MaxReplicasPerServer = 3
	result, err := resolver.Server(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(result.Warnings.ReplicasLimited, "is applied with 4 replicas") {
		t.Errorf("live replicas are not kept: %q", result.Warnings.ReplicasLimited)
	}
	hashes := result.Request.ExternalConfigs
	if len(hashes) != 2 || hashes[composition.ConfigRef{Kind: "ConfigMap", Name: "seldon-kafka"}].Current == "" || hashes[composition.ConfigRef{Kind: "ConfigMap", Name: "seldon-tracing"}].Current != "" {
		t.Errorf("hashes of startup configuration: %v", hashes)
	}
	if got := resolver.Workload(server); got.Kind != "StatefulSet" || got.Name != "mlserver" {
		t.Errorf("workload is %s", got)
	}
}
