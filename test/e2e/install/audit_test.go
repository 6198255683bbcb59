package install_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// auditPolicy writes down what ServiceAccounts ask for, once for each request.
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

// pod is the one whose token was given: the replicas of an operator share an account.
func (r request) pod() string {
	return strings.Join(r.User.Extra["authentication.kubernetes.io/pod-name"], "")
}

// writes tells whether it changes something.
func (r request) writes() bool { return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) }

// audit is the API server's audit log, as far as it has been read: it grows long,
// and is asked often.
type audit struct {
	mu       sync.Mutex
	file     *os.File
	rest     []byte // of a line that is half written
	requests map[string][]request
}

// requestsOf are those of an operator so far, and of what else ran with its account.
func requestsOf(namespace string) []request {
	GinkgoHelper()
	audited.mu.Lock()
	defer audited.mu.Unlock()
	text, err := io.ReadAll(audited.file)
	Expect(err).NotTo(HaveOccurred())
	lines := bytes.SplitAfter(append(audited.rest, text...), []byte("\n"))
	audited.rest = bytes.Clone(lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		entry := request{}
		Expect(json.Unmarshal(line, &entry)).To(Succeed())
		audited.requests[entry.User.Username] = append(audited.requests[entry.User.Username], entry)
	}
	return slices.Clone(audited.requests[userOf(namespace)])
}

func userOf(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// right is one thing that a rule grants.
type right struct{ group, resource, verb string }

func (r right) String() string {
	return r.verb + " " + strings.TrimPrefix(r.group+"/", "/") + r.resource
}

// usedSince are the rights that an operator took in its requests from a mark on, which
// is their number until then.
func usedSince(namespace string, mark int) map[right]bool { return used(requestsOf(namespace)[mark:]) }

// used are the rights that requests took.
func used(requests []request) map[right]bool {
	found := map[right]bool{}
	for _, each := range requests {
		if each.ObjectRef == nil {
			continue
		}
		resource := each.ObjectRef.Resource
		if each.ObjectRef.Subresource != "" {
			resource += "/" + each.ObjectRef.Subresource
		}
		found[right{each.ObjectRef.APIGroup, resource, each.Verb}] = true
		// An apply that makes the object takes the right to create it as well.
		if each.Verb == "patch" && each.ResponseStatus.Code == 201 {
			found[right{each.ObjectRef.APIGroup, resource, "create"}] = true
		}
	}
	return found
}

// granted are the rights that bindings give an operator, and where: a namespace, or
// "" for all.
func granted(namespace string) map[right][]string {
	GinkgoHelper()
	found := map[right][]string{}
	add := func(where string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						key := right{group, resource, verb}
						found[key] = append(found[key], where)
					}
				}
			}
		}
	}
	ours := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == namespace && s.Name == account
		})
	}
	all := &rbacv1.ClusterRoleBindingList{}
	Expect(user.List(lifetime, all)).To(Succeed())
	for _, binding := range all.Items {
		if ours(binding.Subjects) {
			role := &rbacv1.ClusterRole{}
			Expect(user.Get(lifetime, client.ObjectKey{Name: binding.RoleRef.Name}, role)).To(Succeed())
			add("", role.Rules)
		}
	}
	some := &rbacv1.RoleBindingList{}
	Expect(user.List(lifetime, some)).To(Succeed())
	for _, binding := range some.Items {
		if ours(binding.Subjects) {
			role := &rbacv1.Role{}
			Expect(user.Get(lifetime, client.ObjectKey{Namespace: binding.Namespace, Name: binding.RoleRef.Name}, role)).To(Succeed())
			add(binding.Namespace, role.Rules)
		}
	}
	return found
}

// needless are rights that an operator has not used, of those that it was granted.
func needless(namespace string, granted map[right][]string) []string {
	taken := used(requestsOf(namespace))
	var found []string
	for each := range granted {
		if !taken[each] && unseen[each] == "" {
			found = append(found, each.String())
		}
	}
	slices.Sort(found)
	return found
}

// refused are the requests of an operator that it had no right to.
func refused(namespace string) []string {
	var found []string
	for _, each := range requestsOf(namespace) {
		if each.ResponseStatus.Code == 403 && !strings.Contains(each.ResponseStatus.Message, "because it is being terminated") {
			found = append(found, each.String())
		}
	}
	return found
}

// secretByName is used for certificates.
var secretByName = right{"", "secrets", "get"}

// unseen are rights that are granted and never show in the audit log, with the reason.
var unseen = map[right]string{
	secretByName:                                               "held in order to grant it to pods; read for TLS, where that is on",
	{"", "secrets", "list"}:                                    "held in order to grant it to pods",
	{"", "secrets", "watch"}:                                   "held in order to grant it to pods",
	{"discovery.k8s.io", "endpointslices", "list"}:             "held in order to grant it to pods",
	{"discovery.k8s.io", "endpointslices", "watch"}:            "held in order to grant it to pods",
	{"events.k8s.io", "events", "list"}:                        "used only while pods of a StatefulSet are refused",
	{"mlops.seldon.io", "seldonruntimes/finalizers", "update"}: "asked for by the admission of owner references",
	{"mlops.seldon.io", "servers/finalizers", "update"}:        "asked for by the admission of owner references",
}
