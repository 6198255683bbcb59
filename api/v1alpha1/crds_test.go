package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// maxSize is the maximum size of all annotations of an object, in bytes. Client-side
// `kubectl apply` stores the whole CRD in an annotation.
const maxSize = 262144

const ready = `.status.conditions[?(@.type=="Ready")].`

// surfaces are the names and the printed columns of each kind. A column is name, type,
// priority and path.
var surfaces = map[string]struct {
	plural, singular, short string
	scale                   bool
	columns                 []string
}{
	"Model": {"models", "model", "mlm", true, []string{
		`Ready string 0 .status.conditions[?(@.type=="ModelReady")].status`,
		`Desired Replicas integer 0 .spec.replicas`,
		`Available Replicas integer 0 .status.availableReplicas`,
		`ModelGw Ready string 0 .status.modelgwReady`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"Pipeline": {"pipelines", "pipeline", "mlp", false, []string{
		`Pipeline ready string 0 .status.conditions[?(@.type=='Ready')].status`,
		`Models ready string 1 .status.conditions[?(@.type=='ModelsReady')].status`,
		`PipelineGw ready string 1 .status.conditions[?(@.type=='PipelineGwReady')].status`,
		`Dataflow ready string 1 .status.conditions[?(@.type=='PipelineReady')].status`,
		`Message string 0 .status.conditions[?(@.type=='Ready')].message`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"Experiment": {"experiments", "experiment", "mlx", false, []string{
		`Experiment ready string 0 .status.conditions[?(@.type=='ExperimentReady')].status`,
		`Candidates ready string 1 .status.conditions[?(@.type=='CandidatesReady')].status`,
		`Mirror ready string 1 .status.conditions[?(@.type=='MirrorReady')].status`,
		`Message string 0 .status.conditions[?(@.type=='Ready')].message`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"Server": {"servers", "server", "mls", true, []string{
		`Ready string 0 ` + ready + `status`,
		`Replicas integer 0 .status.replicas`,
		`Loaded Models integer 0 .status.loadedModels`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"ServerConfig": {"serverconfigs", "serverconfig", "mlc", false, []string{
		`Server string 0 .spec.podSpec.containers[-1:].name`,
		`Image string 1 .spec.podSpec.containers[-1:].image`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"SeldonConfig": {"seldonconfigs", "seldonconfig", "", false, []string{
		`Kafka string 0 .spec.config.kafkaConfig.bootstrap\.servers`,
		`Service Type string 1 .spec.config.serviceConfig.serviceType`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
	"SeldonRuntime": {"seldonruntimes", "seldonruntime", "", false, []string{
		`Ready string 0 ` + ready + `status`,
		`Reason string 0 ` + ready + `reason`,
		`Message string 1 ` + ready + `message`,
		`SeldonConfig string 0 .spec.seldonConfig`,
		`Age date 0 .metadata.creationTimestamp`,
	}},
}

func TestCRDs(t *testing.T) {
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	if len(crds) != len(surfaces) {
		t.Errorf("%d CRDs, want %d", len(crds), len(surfaces))
	}
	for _, crd := range crds {
		t.Run(crd.Spec.Names.Kind, func(t *testing.T) { checkCRD(t, &crd) })
	}
}

func checkCRD(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	data, err := json.Marshal(crd)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) >= maxSize {
		t.Errorf("%d bytes as JSON, want less than %d", len(data), maxSize)
	}
	want := surfaces[crd.Spec.Names.Kind]
	names := apiextensionsv1.CustomResourceDefinitionNames{
		Kind: crd.Spec.Names.Kind, ListKind: crd.Spec.Names.Kind + "List", Plural: want.plural, Singular: want.singular,
	}
	if want.short != "" {
		names.ShortNames = []string{want.short}
	}
	if got, want := fmt.Sprint(crd.Spec.Names), fmt.Sprint(names); got != want {
		t.Errorf("names are %s, want %s", got, want)
	}
	if crd.Name != want.plural+".mlops.seldon.io" || crd.Spec.Group != "mlops.seldon.io" {
		t.Errorf("name %s, group %s", crd.Name, crd.Spec.Group)
	}
	if crd.Spec.Scope != apiextensionsv1.NamespaceScoped || crd.Spec.Conversion != nil || len(crd.Spec.Versions) != 1 {
		t.Fatalf("want one version, namespaced and without conversion: %v", crd.Spec.Scope)
	}
	version := crd.Spec.Versions[0]
	if version.Name != "v1alpha1" || !version.Served || !version.Storage || version.Deprecated {
		t.Errorf("version %s: served %v, storage %v, deprecated %v", version.Name, version.Served, version.Storage, version.Deprecated)
	}
	checkSubresources(t, version.Subresources, want.scale)
	var columns []string
	for _, column := range version.AdditionalPrinterColumns {
		columns = append(columns, fmt.Sprintf("%s %s %d %s", column.Name, column.Type, column.Priority, column.JSONPath))
		if column.Description == "" && column.Name != "Age" {
			t.Errorf("column %s has no description", column.Name)
		}
	}
	if !slices.Equal(columns, want.columns) {
		t.Errorf("columns are\n%s\nwant\n%s", strings.Join(columns, "\n"), strings.Join(want.columns, "\n"))
	}
	checkConditions(t, version.Schema.OpenAPIV3Schema.Properties["status"])
}

func checkSubresources(t *testing.T, got *apiextensionsv1.CustomResourceSubresources, scale bool) {
	t.Helper()
	if got == nil || got.Status == nil {
		t.Fatal("no status subresource")
	}
	if (got.Scale != nil) != scale {
		t.Fatalf("scale subresource is %v", got.Scale)
	}
	if scale && (got.Scale.SpecReplicasPath != ".spec.replicas" || got.Scale.StatusReplicasPath != ".status.replicas" ||
		*got.Scale.LabelSelectorPath != ".status.selector") {
		t.Errorf("scale subresource is %v", got.Scale)
	}
}

// checkConditions checks that the schema of a condition only restricts type and status
// beyond their JSON types.
func checkConditions(t *testing.T, status apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if len(status.Required) != 0 {
		t.Errorf("status requires %v", status.Required)
	}
	conditions, ok := status.Properties["conditions"]
	if !ok {
		return
	}
	if *conditions.XListType != "map" || !slices.Equal(conditions.XListMapKeys, []string{"type"}) {
		t.Errorf("conditions are a list of type %s with keys %v", *conditions.XListType, conditions.XListMapKeys)
	}
	item := conditions.Items.Schema
	if !slices.Equal(item.Required, []string{"status", "type"}) {
		t.Errorf("a condition requires %v", item.Required)
	}
	for _, text := range []string{"type", "reason", "message", "lastTransitionTime", "severity"} {
		property := item.Properties[text]
		if fmt.Sprint(property) != fmt.Sprint(apiextensionsv1.JSONSchemaProps{Type: "string"}) {
			t.Errorf("%s of a condition is %v", text, property)
		}
	}
}

// TestScheme checks that every kind and its list are registered.
func TestScheme(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		object, err := scheme.New(v1alpha1.GroupVersion.WithKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := object.(client.Object); !ok {
			t.Errorf("%T is not an object", object)
		}
		list, err := scheme.New(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := list.(client.ObjectList); !ok {
			t.Errorf("%T is not a list", list)
		}
	}
	if got, want := v1alpha1.Resource("models").String(), "models.mlops.seldon.io"; got != want {
		t.Errorf("resource is %s, want %s", got, want)
	}
}

// TestColumns requests tables from the API server, as kubectl does: a valid path may select
// nothing.
func TestColumns(t *testing.T) {
	c := apiServer(t)
	for kind, want := range map[string]map[string]any{
		v1alpha1.KindModel:         {"Desired Replicas": int64(2), "Ready": "False", "Available Replicas": int64(1), "ModelGw Ready": "ModelAvailable(why) "},
		v1alpha1.KindServerConfig:  {"Server": "mlserver", "Image": "mlserver"},
		v1alpha1.KindSeldonConfig:  {"Kafka": "kafka:9092", "Service Type": "ClusterIP"},
		v1alpha1.KindSeldonRuntime: {"Ready": "Unknown", "SeldonConfig": "default"},
	} {
		object, err := complete(kind)
		if err != nil {
			t.Fatal(err)
		}
		object.SetName("columns")
		if kind == v1alpha1.KindModel {
			object.Object["spec"].(map[string]any)["replicas"] = int64(2)
		}
		if err := c.Create(t.Context(), object.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if status, err := oldStatus(kind); err == nil && status != nil {
			if err := writeOldStatus(t.Context(), c, object); err != nil {
				t.Fatal(err)
			}
		}
		got := row(t, object)
		for column, cell := range want {
			if fmt.Sprint(got[column]) != fmt.Sprint(cell) {
				t.Errorf("%s: column %s is %v, want %v", kind, column, got[column], cell)
			}
		}
	}
}

// row returns the cells of an object's row by column.
func row(t *testing.T, object client.Object) map[string]any {
	t.Helper()
	kind := object.GetObjectKind().GroupVersionKind().Kind
	path := fmt.Sprintf("/apis/%s/namespaces/%s/%s/%s", v1alpha1.GroupVersion, object.GetNamespace(), surfaces[kind].plural, object.GetName())
	config := *apiConfig
	config.ContentConfig = rest.ContentConfig{GroupVersion: &schema.GroupVersion{}, NegotiatedSerializer: serializer.NewCodecFactory(runtime.NewScheme())}
	c, err := rest.UnversionedRESTClientFor(&config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Get().AbsPath(path).SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 {
		t.Fatalf("%s: %d rows", kind, len(table.Rows))
	}
	cells := map[string]any{}
	for i, column := range table.ColumnDefinitions {
		cells[column.Name] = table.Rows[0].Cells[i]
	}
	return cells
}
