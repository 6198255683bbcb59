package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/cli"
	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

const (
	operatorNamespace = "seldon-system"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":" + installation.OperatorName
	// editor is the field manager of objects that the tests apply.
	editor = "editor"
)

// auditPolicy logs each request of a ServiceAccount once.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["` + operatorUser + `"]
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
`

var (
	ctx, cancel = context.WithCancel(context.Background())

	environment = &installation.Environment{}
	auditLog    string
	// kubeconfig of an administrator.
	kubeconfig string
	watcher    client.WithWatch
)

func TestCommands(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Commands")
}

var _ = BeforeSuite(func() {
	DeferCleanup(cancel)
	folder := GinkgoT().TempDir()
	auditLog = filepath.Join(folder, "audit.log")
	policy := filepath.Join(folder, "audit.yaml")
	Expect(os.WriteFile(policy, []byte(auditPolicy), 0o600)).To(Succeed())
	environment.APIServerFlags = []string{"--audit-log-path=" + auditLog, "--audit-policy-file=" + policy}
	environment.Start(func() {
		environment.Kubectl("apply", "--server-side", "-k", root("config/crd"))
		environment.AwaitCRDsServed()
	})
	kubeconfig = environment.Kubeconfig()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	watcher, err = client.NewWithWatch(config, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	environment.Kubectl("apply", "--server-side", "--field-manager", editor, "-k", root("config/default"))
})

// root returns the path of a file of the repository.
func root(path string) string { return filepath.Join("..", "..", "..", filepath.FromSlash(path)) }

// output is what a command printed.
type output struct {
	stdout, stderr string
	code           int
}

// seldon runs kubectl seldon as an administrator.
func seldon(args ...string) output {
	return seldonAs(kubeconfig, args...)
}

// seldonAs runs kubectl seldon with a kubeconfig.
func seldonAs(kubeconfig string, args ...string) output {
	stdout := &lockedBuffer{}
	return seldonInto(ctx, stdout, kubeconfig, args...)
}

// seldonInto runs kubectl seldon with a kubeconfig until a context ends. The standard output is
// written into a buffer as well.
func seldonInto(ctx context.Context, stdout *lockedBuffer, kubeconfig string, args ...string) output {
	stderr := &lockedBuffer{}
	config := cli.Config{Name: "kubectl seldon", Version: "dev", Streams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: stdout, ErrOut: stderr}}
	code := cli.Run(ctx, config, append([]string{"--kubeconfig", kubeconfig}, args...))
	return output{stdout.String(), stderr.String(), code}
}

// mustSeldon runs kubectl seldon as an administrator, and returns its standard output.
func mustSeldon(args ...string) string {
	GinkgoHelper()
	done := seldon(args...)
	Expect(done.code).To(BeZero(), "%v: %s%s", args, done.stdout, done.stderr)
	return done.stdout
}

// newNamespace creates a namespace, which is not deleted.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	Expect(environment.Client.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

// parse decodes YAML.
func parse(text string, into any) {
	GinkgoHelper()
	Expect(yaml.UnmarshalStrict([]byte(text), into)).To(Succeed())
}

// audited is a write of the operator.
type audited struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// writesAfter returns the successful writes of the operator in the audit log after an offset,
// and the offset of its end.
func writesAfter(offset int64) (writes []audited, end int64) {
	GinkgoHelper()
	file, err := os.Open(auditLog)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close() //nolint:errcheck // it is only read
	_, err = file.Seek(offset, io.SeekStart)
	Expect(err).NotTo(HaveOccurred())
	text, err := io.ReadAll(file)
	Expect(err).NotTo(HaveOccurred())
	complete := bytes.LastIndexByte(text, '\n') + 1
	for line := range bytes.Lines(text[:complete]) {
		entry := audited{}
		Expect(json.Unmarshal(line, &entry)).To(Succeed())
		if entry.ResponseStatus.Code < 300 && entry.ObjectRef != nil && !strings.Contains(entry.RequestURI, "dryRun=") {
			writes = append(writes, entry)
		}
	}
	return writes, offset + int64(complete)
}

// user returns the kubeconfig of a new user with permissions in all namespaces.
func user(name string, rules ...rbacv1.PolicyRule) string {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	Expect(environment.Client.Create(ctx, role)).To(Succeed())
	Expect(environment.Client.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	})).To(Succeed())
	file := filepath.Join(GinkgoT().TempDir(), name)
	Expect(os.WriteFile(file, environment.User(name), 0o600)).To(Succeed())
	return file
}

// get reads an object.
func get[T client.Object](object T, namespace, name string) T {
	GinkgoHelper()
	Expect(environment.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)).To(Succeed())
	return object
}
