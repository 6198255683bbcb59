package install_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// auditPolicy logs each request of a ServiceAccount once.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
`

// request is one line of the API server's audit log.
type request struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"responseStatus"`
}

func (r request) String() string {
	return fmt.Sprintf("%s %s: %d %s", r.Verb, r.RequestURI, r.ResponseStatus.Code, r.ResponseStatus.Message)
}

// pod returns the name of the pod whose token was used: the replicas of an operator
// share a ServiceAccount.
func (r request) pod() string {
	return strings.Join(r.User.Extra["authentication.kubernetes.io/pod-name"], "")
}

// writes returns whether the request is a write.
func (r request) writes() bool { return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) }

// audit is the API server's audit log. It remembers what it has read, since the log
// is long and read often.
type audit struct {
	mu   sync.Mutex
	file *os.File
	// partialLine is the start of a line that the API server has not finished.
	partialLine []byte
	// requests are those read so far, by user name.
	requests map[string][]request
}

// requestsOf returns the requests so far of everything that runs with the
// ServiceAccount of the operator in a namespace.
func requestsOf(namespace string) []request {
	GinkgoHelper()
	audited.mu.Lock()
	defer audited.mu.Unlock()
	text, err := io.ReadAll(audited.file)
	Expect(err).NotTo(HaveOccurred())
	lines := bytes.SplitAfter(append(audited.partialLine, text...), []byte("\n"))
	audited.partialLine = bytes.Clone(lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		entry := request{}
		Expect(json.Unmarshal(line, &entry)).To(Succeed())
		audited.requests[entry.User.Username] = append(audited.requests[entry.User.Username], entry)
	}
	return slices.Clone(audited.requests[userName(namespace)])
}

func userName(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// permission is a verb on a resource.
type permission struct{ group, resource, verb string }

func (p permission) String() string {
	return p.verb + " " + strings.TrimPrefix(p.group+"/", "/") + p.resource
}

// usedSince returns the permissions that an operator has used in its requests after the
// first mark ones.
func usedSince(namespace string, mark int) map[permission]bool {
	return used(requestsOf(namespace)[mark:])
}

// used returns the permissions that requests needed.
func used(requests []request) map[permission]bool {
	found := map[permission]bool{}
	for _, each := range requests {
		if each.ObjectRef == nil {
			continue
		}
		resource := each.ObjectRef.Resource
		if each.ObjectRef.Subresource != "" {
			resource += "/" + each.ObjectRef.Subresource
		}
		found[permission{each.ObjectRef.APIGroup, resource, each.Verb}] = true
		// An apply that creates the object needs the permission to create it as well.
		if each.Verb == "patch" && each.ResponseStatus.Code == 201 {
			found[permission{each.ObjectRef.APIGroup, resource, "create"}] = true
		}
	}
	return found
}

// rendered returns a client with the roles and bindings of kustomizations.
func rendered(kustomizations []string) client.Reader {
	GinkgoHelper()
	var objects []client.Object
	for _, folder := range kustomizations {
		text, err := exec.CommandContext(ctx, kubectl, "kustomize", filepath.Join("..", "..", "..", folder)).Output()
		Expect(err).NotTo(HaveOccurred(), folder)
		for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
			object, kind, err := serializer.NewCodecFactory(k8sClient.Scheme()).UniversalDeserializer().Decode(document, nil, nil)
			Expect(err).NotTo(HaveOccurred(), string(document))
			if kind.Group == rbacv1.GroupName {
				objects = append(objects, object.(client.Object))
			}
		}
	}
	return fake.NewClientBuilder().WithScheme(k8sClient.Scheme()).WithObjects(objects...).Build()
}

// byScope returns permissions with the namespaces they are valid in as "all", "own" and
// "listed", to compare operators.
func (i *install) byScope(permissions map[permission][]string) map[string][]string {
	found := map[string][]string{}
	for permission, namespaces := range permissions {
		var scopes []string
		for _, namespace := range namespaces {
			switch namespace {
			case "":
				scopes = append(scopes, "all")
			case i.namespace:
				scopes = append(scopes, "own")
			default:
				scopes = append(scopes, "listed")
			}
		}
		slices.Sort(scopes)
		found[permission.String()] = slices.Compact(scopes)
	}
	return found
}

// granted returns the permissions that bindings grant to an operator, each with the
// namespaces it is valid in. The namespace "" stands for all.
func granted(reader client.Reader, namespace string) map[permission][]string {
	GinkgoHelper()
	found := map[permission][]string{}
	add := func(scope string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						key := permission{group, resource, verb}
						found[key] = append(found[key], scope)
					}
				}
			}
		}
	}
	isSubject := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == namespace && s.Name == account
		})
	}
	clusterRoleBindings := &rbacv1.ClusterRoleBindingList{}
	Expect(reader.List(ctx, clusterRoleBindings)).To(Succeed())
	for _, binding := range clusterRoleBindings.Items {
		if isSubject(binding.Subjects) {
			role := &rbacv1.ClusterRole{}
			Expect(reader.Get(ctx, client.ObjectKey{Name: binding.RoleRef.Name}, role)).To(Succeed())
			add("", role.Rules)
		}
	}
	roleBindings := &rbacv1.RoleBindingList{}
	Expect(reader.List(ctx, roleBindings)).To(Succeed())
	for _, binding := range roleBindings.Items {
		if isSubject(binding.Subjects) {
			role := &rbacv1.Role{}
			Expect(reader.Get(ctx, client.ObjectKey{Namespace: binding.Namespace, Name: binding.RoleRef.Name}, role)).To(Succeed())
			add(binding.Namespace, role.Rules)
		}
	}
	return found
}

// unusedPermissions returns the granted permissions that an operator has not used,
// sorted.
func unusedPermissions(namespace string, granted map[permission][]string) []string {
	used := used(requestsOf(namespace))
	var found []string
	for each := range granted {
		if !used[each] && unseenPermissions[each] == "" {
			found = append(found, each.String())
		}
	}
	slices.Sort(found)
	return found
}

// forbiddenRequests returns the requests of an operator that RBAC rejected.
func forbiddenRequests(namespace string) []string {
	var found []string
	for _, each := range requestsOf(namespace) {
		if each.ResponseStatus.Code == 403 && !strings.Contains(each.ResponseStatus.Message, "because it is being terminated") {
			found = append(found, each.String())
		}
	}
	return found
}

// secretByName is the permission to read a certificate.
var secretByName = permission{"", "secrets", "get"}

// unseenPermissions are granted and never appear in the audit log; the value is the
// reason.
var unseenPermissions = map[permission]string{
	secretByName:                                               "required to grant it to pods; used for TLS, if enabled",
	{"", "secrets", "list"}:                                    "required to grant it to pods",
	{"", "secrets", "watch"}:                                   "required to grant it to pods",
	{"discovery.k8s.io", "endpointslices", "list"}:             "required to grant it to pods",
	{"discovery.k8s.io", "endpointslices", "watch"}:            "required to grant it to pods",
	{"events.k8s.io", "events", "list"}:                        "used only while pods of a StatefulSet are rejected",
	{"mlops.seldon.io", "seldonruntimes", "get"}:               "used only to adopt objects without a controller",
	{"mlops.seldon.io", "seldonruntimes/finalizers", "update"}: "checked by the admission plugin OwnerReferencesPermissionEnforcement",
	{"mlops.seldon.io", "servers/finalizers", "update"}:        "checked by the admission plugin OwnerReferencesPermissionEnforcement",
}
