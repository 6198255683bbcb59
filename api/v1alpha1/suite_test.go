package v1alpha1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// The tests that need an API server share one, which the first of them starts. It starts
// with permissive CRDs, like a cluster of the upstream operator. Objects that violate the
// rules are stored then (stored_test.go), before the real CRDs replace these.

const crdDirectory = "../../config/crd/bases"

var kinds = []string{
	v1alpha1.KindModel, v1alpha1.KindPipeline, v1alpha1.KindExperiment, v1alpha1.KindServer,
	v1alpha1.KindServerConfig, v1alpha1.KindSeldonConfig, v1alpha1.KindSeldonRuntime,
}

var (
	stop    = func() error { return nil }
	connect = sync.OnceValues(startAPIServer)
	// apiConfig is the configuration of the client that connect returns.
	apiConfig *rest.Config
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// apiServer returns a client of the shared API server, with the real CRDs.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func startAPIServer() (client.Client, error) {
	ctx := context.Background()
	server, err := controlplane.Start(ctx, controlplane.Options{APIServerOnly: true})
	if err != nil {
		return nil, err
	}
	stop = server.Stop
	scheme := runtime.NewScheme()
	err = errors.Join(v1alpha1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme))
	if err != nil {
		return nil, err
	}
	apiConfig = server.Config()
	apiConfig.WarningHandler = rest.NoWarnings{}
	c, err := client.New(apiConfig, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	crds, err := readCRDs()
	if err != nil {
		return nil, err
	}
	for i := range crds {
		if err := c.Create(ctx, permissive(crds[i])); err != nil {
			return nil, err
		}
	}
	if err := untilSpecs(ctx, c, "accepted"); err != nil {
		return nil, err
	}
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	namespace.SetName(storedNamespace)
	if err := c.Create(ctx, namespace); err != nil {
		return nil, err
	}
	if err := storeInvalidObjects(ctx, c); err != nil {
		return nil, err
	}
	for i := range crds {
		var current apiextensionsv1.CustomResourceDefinition
		if err := c.Get(ctx, client.ObjectKeyFromObject(&crds[i]), &current); err != nil {
			return nil, err
		}
		current.Spec = crds[i].Spec
		if err := c.Update(ctx, &current); err != nil {
			return nil, fmt.Errorf("replace the permissive CRD %s: %w", current.Name, err)
		}
	}
	return c, untilSpecs(ctx, c, "rejected")
}

// untilSpecs waits until objects without a spec are accepted or rejected, for each kind:
// the API server serves a new or changed CRD with a delay.
func untilSpecs(ctx context.Context, c client.Client, want string) error {
	for _, kind := range kinds {
		probe := newObject(kind)
		probe.SetName("probe")
		var last error
		err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			last = c.Create(ctx, probe.DeepCopy(), client.DryRunAll)
			return last == nil == (want == "accepted") && !apierrors.IsNotFound(last), nil
		})
		if err != nil {
			return fmt.Errorf("wait until a %s without spec is %s, lastly %w", kind, want, errors.Join(last, err))
		}
	}
	return nil
}

func newObject(kind string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	object.SetNamespace(metav1.NamespaceDefault)
	return object
}

// readCRDs returns the CRDs, which are decoded once: they are large. Callers must not change
// them.
var readCRDs = sync.OnceValues(func() ([]apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(crdDirectory, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var crds []apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
})

// permissive returns a CRD that only validates types and required fields, like the CRDs of
// the upstream operator.
func permissive(crd apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	loose := crd.DeepCopy()
	for i := range loose.Spec.Versions {
		loosen(loose.Spec.Versions[i].Schema.OpenAPIV3Schema)
	}
	return loose
}

func loosen(schema *apiextensionsv1.JSONSchemaProps) {
	schema.XValidations = nil
	schema.Minimum, schema.Maximum = nil, nil
	schema.MinLength, schema.MaxLength = nil, nil
	schema.MinItems, schema.MaxItems = nil, nil
	schema.Enum = nil
	if schema.Type == "integer" {
		// Older API servers do not enforce the format of numbers.
		schema.Format = ""
	}
	schema.XListType, schema.XListMapKeys = nil, nil
	if !schema.XIntOrString {
		schema.Pattern = ""
	}
	for name, property := range schema.Properties {
		loosen(&property)
		schema.Properties[name] = property
	}
	if schema.Items != nil {
		loosen(schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		loosen(schema.AdditionalProperties.Schema)
	}
}

// readObjects reads the objects of this API's kinds from a file with YAML documents.
func readObjects(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var document runtime.RawExtension
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(document.Raw, &object.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if slices.Contains(kinds, object.GetKind()) {
			object.SetNamespace(metav1.NamespaceDefault)
			objects = append(objects, object)
		}
	}
}

// manifests are the results of complete, by kind.
var manifests sync.Map

// complete returns the manifest of the kind that has every field. It is decoded once, and
// each caller gets a copy.
func complete(kind string) (*unstructured.Unstructured, error) {
	if known, ok := manifests.Load(kind); ok {
		return known.(*unstructured.Unstructured).DeepCopy(), nil
	}
	objects, err := readObjects(filepath.Join("testdata", "complete", strings.ToLower(kind)+".yaml"))
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 {
		return nil, fmt.Errorf("%d objects in the complete manifest of kind %s", len(objects), kind)
	}
	manifests.Store(kind, objects[0].DeepCopy())
	return objects[0], nil
}
