package installation

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// OperatorName is the name of the operator's Deployment.
const OperatorName = "seldon-v2-controller-manager"

// ChartPrefix is the part of a chart's name that all charts share.
const ChartPrefix = "seldon-core-v2-"

// The charts. A release has the name of its chart.
const (
	CRDs    = ChartPrefix + "crds"
	Setup   = ChartPrefix + "setup"
	Runtime = ChartPrefix + "runtime"
	Servers = ChartPrefix + "servers"
)

// Releases are all releases, in the order in which they are installed.
var Releases = []string{CRDs, Setup, Runtime, Servers}

// Chart returns the directory of the chart of a release.
func Chart(release string) string { return helm.Chart(strings.TrimPrefix(release, ChartPrefix)) }

// Installation is an operator, and a namespace with a data plane that it watches.
type Installation struct {
	*Environment
	// OperatorNamespace and DataNamespace may be the same.
	OperatorNamespace, DataNamespace string
	// Values are values of the setup chart, as for helm --set.
	Values []string
}

// Namespace returns the namespace of a release. The CRDs have the one that the
// documentation recommends.
func (i Installation) Namespace(release string) string {
	switch release {
	case CRDs:
		return metav1.NamespaceDefault
	case Setup:
		return i.OperatorNamespace
	default:
		return i.DataNamespace
	}
}

// HelmRelease runs a Helm command on a release and returns its output.
func (i Installation) HelmRelease(command, release string, arguments ...string) string {
	GinkgoHelper()
	return i.Helm(append([]string{command, release, "--namespace", i.Namespace(release)}, arguments...)...)
}

// Upgrade upgrades a release to a chart, which may be a modified one.
func (i Installation) Upgrade(release, chart string, arguments ...string) {
	GinkgoHelper()
	arguments = append([]string{chart}, arguments...)
	if release == Setup {
		arguments = append(arguments, "--wait")
		for _, value := range i.Values {
			arguments = append(arguments, "--set", value)
		}
	}
	i.HelmRelease("upgrade", release, arguments...)
}

// Install installs everything but the CRDs, creates a Model, and returns the simulated
// scheduler once everything is ready.
func (i Installation) Install() *fakescheduler.Scheduler {
	GinkgoHelper()
	i.CreateNamespaces()
	i.Upgrade(Setup, Chart(Setup), "--install")
	return i.InstallDataPlane()
}

// InstallDataPlane installs the charts of the data plane only.
func (i Installation) InstallDataPlane() *fakescheduler.Scheduler {
	GinkgoHelper()
	scheduler := i.StartScheduler(i.DataNamespace)
	for _, release := range []string{Runtime, Servers} {
		i.Upgrade(release, Chart(release), "--install")
	}
	Expect(i.Client.Create(i.ctx, i.Model())).To(Succeed())
	i.AwaitReady()
	return scheduler
}

// CreateNamespaces creates both namespaces unless they exist.
func (i Installation) CreateNamespaces() {
	GinkgoHelper()
	for _, namespace := range []string{i.OperatorNamespace, i.DataNamespace} {
		err := i.Client.Create(i.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
	}
}

// Remove uninstalls the releases that are still installed. The CRDs stay.
func (i Installation) Remove() {
	GinkgoHelper()
	for _, release := range []string{Servers, Runtime, Setup, CRDs} {
		i.HelmRelease("uninstall", release, "--ignore-not-found")
	}
}

// Model returns the Model that Install creates.
func (i Installation) Model() *v1alpha1.Model {
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: i.DataNamespace, Name: "iris"}}
	model.Spec.StorageURI = "gs://seldon-models/iris"
	return model
}

// Runtime returns the name of the SeldonRuntime of the runtime chart, to get it.
func (i Installation) Runtime() *v1alpha1.SeldonRuntime {
	return &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: i.DataNamespace, Name: "seldon"}}
}

// Server returns the name of a Server in the namespace of the data plane, to get it.
func (i Installation) Server(name string) *v1alpha1.Server {
	return &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Namespace: i.DataNamespace, Name: name}}
}

// AwaitReady waits until runtime, Servers and Model are ready.
func (i Installation) AwaitReady() {
	GinkgoHelper()
	for _, each := range []status.Object{i.Runtime(), i.Server("mlserver"), i.Server("triton"), i.Model()} {
		Eventually(i.Ready(each)).Should(HavePrefix("True"), func() string {
			return fmt.Sprintf("%T %s\n%s", each, each.GetName(), i.Log())
		})
	}
}

// Log returns the last 8 KiB of the operator's log.
func (i Installation) Log() string {
	log, err := i.node.Log(i.OperatorNamespace, OperatorName)
	if err != nil {
		return err.Error()
	}
	return log[max(0, len(log)-1<<13):]
}

// DataPlanePods returns the pods of the data plane: Pod/name to UID.
func (i Installation) DataPlanePods() map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	for name, version := range i.Content(i.DataNamespace) {
		if strings.HasPrefix(name, "Pod/") && !strings.HasPrefix(name, "Pod/"+OperatorName) {
			found[name], _, _ = strings.Cut(version, " ")
		}
	}
	return found
}

// SharedFields returns the fields that both the operator and a manager which applies
// the charts own, by name of the object. It expects that the operator owns no field of
// the objects without status, the configurations.
func (i Installation) SharedFields(manager string) map[string]string {
	GinkgoHelper()
	shared := map[string]string{}
	for _, object := range []client.Object{
		i.Runtime(), i.Server("mlserver"), i.Server("triton"),
		&v1alpha1.SeldonConfig{ObjectMeta: metav1.ObjectMeta{Namespace: i.OperatorNamespace, Name: "default"}},
		&v1alpha1.ServerConfig{ObjectMeta: metav1.ObjectMeta{Namespace: i.OperatorNamespace, Name: "mlserver"}},
	} {
		Expect(i.Client.Get(i.ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		managers, operators := ownedFields(object, manager), ownedFields(object, "seldon-operator")
		Expect(managers.Empty()).To(BeFalse(), "%s owns no field of %T %s", manager, object, object.GetName())
		_, hasStatus := object.(status.Object)
		Expect(operators.Empty()).To(Equal(!hasStatus), "the operator owns %s of %T %s", operators, object, object.GetName())
		if both := managers.Intersection(operators); !both.Empty() {
			shared[object.GetName()] = both.String()
		}
	}
	return shared
}

// ownedFields returns the fields that the managers with a name of this prefix own.
func ownedFields(object client.Object, prefix string) *fieldpath.Set {
	GinkgoHelper()
	all := fieldpath.NewSet()
	for _, entry := range object.GetManagedFields() {
		if strings.HasPrefix(entry.Manager, prefix) {
			owned := fieldpath.NewSet()
			Expect(owned.FromJSON(entry.FieldsV1.GetRawReader())).To(Succeed())
			all = all.Union(owned)
		}
	}
	return all.Leaves()
}
