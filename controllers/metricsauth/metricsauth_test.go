package metricsauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// metrics is what the handler after the filter serves.
const metrics = "seldon_operator_resources 1\n"

// environment is an API server with two accounts: one that may read metrics, and one that
// may not.
type environment struct {
	config            *rest.Config
	admin             client.WithWatch
	prometheus, other string // their tokens
}

func TestAuthorization(t *testing.T) {
	w := start(t)
	t.Run("Decisions", w.testDecisions)
	t.Run("Decisions are cached", w.testCachedDecisions)
	t.Run("The cache is bounded", w.testBoundedCache)
	t.Run("Without the API server", w.testWithoutAPIServer)
}

func start(t *testing.T) *environment {
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, cluster.Stop()) })
	admin, err := client.NewWithWatch(cluster.Config(), client.Options{Scheme: scheme.Scheme})
	must(t, err)
	w := &environment{config: cluster.Config(), admin: admin}
	w.prometheus, w.other = w.account(t, "prometheus"), w.account(t, "other")
	must(t, admin.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}},
	}))
	must(t, admin.Create(t.Context(), readsMetrics("prometheus")))
	return w
}

func (w *environment) account(t *testing.T, name string) (token string) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}}
	must(t, w.admin.Create(t.Context(), account))
	request := &authenticationv1.TokenRequest{}
	must(t, w.admin.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

func readsMetrics(account string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceDefault, Name: account}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scraped is a server of metrics, with its log lines and its reviews.
type scraped struct {
	url string

	mu      sync.Mutex
	logged  []string
	reviews []string // kinds, in order
}

// log returns a logger with the operator's default level.
func (s *scraped) log() logr.Logger {
	return funcr.New(func(_, line string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.logged = append(s.logged, line)
	}, funcr.Options{})
}

// review records a review and sends it.
func (s *scraped) review(ctx context.Context, to client.WithWatch, object client.Object, options ...client.CreateOption) error {
	s.mu.Lock()
	s.reviews = append(s.reviews, strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1."))
	s.mu.Unlock()
	return to.Create(ctx, object, options...)
}

func (s *scraped) recorded() (logged, reviews []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logged), slices.Clone(s.reviews)
}

// create is a call to the API server, which a test can replace by one that fails.
type create = func(ctx context.Context, to client.WithWatch, object client.Object, options ...client.CreateOption) error

// serve starts a server with the filter. If fail is nil, all calls reach the API server.
func (w *environment) serve(t *testing.T, clock cache.Clock, fail create) *scraped {
	s := &scraped{}
	reviews := w.admin
	if fail != nil {
		reviews = interceptor.NewClient(reviews, interceptor.Funcs{Create: fail})
	}
	reviews = interceptor.NewClient(reviews, interceptor.Funcs{Create: s.review})
	s.start(t, newAuthorizer(reviews, cache.NewLRUExpireCacheWithClock(cacheSize, clock)).filter)
	return s
}

func (s *scraped) start(t *testing.T, filter metricsserver.Filter) {
	handler, err := filter(s.log(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, metrics) }))
	must(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.url = server.URL
}

func (s *scraped) get(t *testing.T, path, authorization string) (status int, text string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	must(t, err)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	content, err := io.ReadAll(response.Body)
	must(t, err)
	must(t, response.Body.Close())
	return response.StatusCode, string(content), response.Header
}

func (w *environment) testDecisions(t *testing.T) {
	failing := func(kind client.Object, change func(client.Object) error) create {
		return func(ctx context.Context, to client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if fmt.Sprintf("%T", object) != fmt.Sprintf("%T", kind) {
				return to.Create(ctx, object, options...)
			}
			return change(object)
		}
	}
	broken := func(client.Object) error { return errors.New("etcd is away") }
	const token, access = "TokenReview", "SubjectAccessReview"
	for name, test := range map[string]struct {
		authorization string
		path          string // /metrics by default
		fail          create
		status        int
		text          string   // part of the response
		reviews       []string // kinds of reviews that are sent
		logged        string   // part of the only log line; empty for none
	}{
		"no token":                    {status: 401, text: "send the token of a ServiceAccount"},
		"another scheme":              {authorization: "Basic " + w.prometheus, status: 401, text: "send the token"},
		"a token without a scheme":    {authorization: w.prometheus, status: 401, text: "send the token"},
		"a scheme without a token":    {authorization: "Bearer", status: 401, text: "send the token"},
		"a scheme and blanks":         {authorization: "Bearer  ", status: 401, text: "send the token"},
		"an invalid token":            {authorization: "Bearer made.up", status: 401, text: "the token is not valid", reviews: []string{token}, logged: "invalid bearer token"},
		"a token with the permission": {authorization: "Bearer " + w.prometheus, status: 200, text: metrics, reviews: []string{token, access}},
		"the scheme in lower case":    {authorization: "bearer  " + w.prometheus, status: 200, text: metrics, reviews: []string{token, access}},
		"a token without the permission": {authorization: "Bearer " + w.other, status: 403,
			text: "system:serviceaccount:default:other may not get /metrics", reviews: []string{token, access}},
		"another path": {authorization: "Bearer " + w.prometheus, path: "/debug", status: 403,
			text: "system:serviceaccount:default:prometheus may not get /debug", reviews: []string{token, access}},
		"tokens cannot be reviewed": {authorization: "Bearer " + w.prometheus, fail: failing(&authenticationv1.TokenReview{}, broken),
			status: 500, text: "see the operator's log", reviews: []string{token}, logged: "review a token: etcd is away"},
		"the webhook for tokens is unreachable": {authorization: "Bearer " + w.prometheus, fail: failing(&authenticationv1.TokenReview{}, func(object client.Object) error {
			object.(*authenticationv1.TokenReview).Status.Error = "the webhook is away"
			return nil
		}), status: 401, text: "the token is not valid\n", reviews: []string{token}, logged: "the webhook is away"},
		"access cannot be reviewed": {authorization: "Bearer " + w.prometheus, fail: failing(&authorizationv1.SubjectAccessReview{}, broken), status: 500,
			text: "see the operator's log", reviews: []string{token, access}, logged: "review the access of system:serviceaccount:default:prometheus: etcd is away"},
		"the webhook for access is unreachable": {authorization: "Bearer " + w.prometheus, fail: failing(&authorizationv1.SubjectAccessReview{}, func(object client.Object) error {
			object.(*authorizationv1.SubjectAccessReview).Status.EvaluationError = "the webhook is away"
			return nil
		}), status: 403, text: "prometheus may not get /metrics", reviews: []string{token, access}, logged: "the webhook is away"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.serve(t, testingclock.NewFakeClock(time.Now()), test.fail)
			path := test.path
			if path == "" {
				path = "/metrics"
			}
			// The second time the decision is cached, and not logged again.
			for range 2 {
				status, text, header := s.get(t, path, test.authorization)
				if status != test.status || !strings.Contains(text, test.text) {
					t.Errorf("got %d %q, want %d and %q", status, text, test.status, test.text)
				}
				if (header.Get("WWW-Authenticate") == "Bearer") != (status == http.StatusUnauthorized) {
					t.Errorf("got %d with the header %v", status, header)
				}
				if status != http.StatusOK && strings.Contains(text, metrics) {
					t.Errorf("%d has metrics", status)
				}
			}
			logged, reviews := s.recorded()
			want := test.reviews
			if test.status == http.StatusInternalServerError {
				want = append(want, want...) // no decision was cached
			}
			if !slices.Equal(reviews, want) {
				t.Errorf("sent reviews %q, want %q", reviews, want)
			}
			if test.logged == "" && len(logged) > 0 || test.logged != "" && (len(logged) != 1 || !strings.Contains(logged[0], test.logged)) {
				t.Errorf("logged %q, want one line with %q", logged, test.logged)
			}
		})
	}
}

// Decisions expire, since permissions change; denials expire earlier.
func (w *environment) testCachedDecisions(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Now())
	s := w.serve(t, clock, nil)
	token := "Bearer " + w.account(t, "late")
	expect := func(want int, when string) {
		t.Helper()
		if status, text, _ := s.get(t, "/metrics", token); status != want {
			t.Errorf("%s: got %d %s, want %d", when, status, text, want)
		}
	}
	// The API server's authorizer uses new bindings after a moment.
	until := func(allowed bool) {
		t.Helper()
		for t.Context().Err() == nil {
			may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:                  "system:serviceaccount:default:late",
				NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/metrics"},
			}}
			must(t, w.admin.Create(t.Context(), may))
			if may.Status.Allowed == allowed {
				return
			}
		}
	}
	expect(403, "at first")
	binding := readsMetrics("late")
	must(t, w.admin.Create(t.Context(), binding))
	until(true)
	clock.Step(deniedTTL - time.Millisecond)
	expect(403, "while a denial is cached")
	clock.Step(2 * time.Millisecond)
	expect(200, "after that")
	must(t, w.admin.Delete(t.Context(), binding))
	until(false)
	clock.Step(allowedTTL - time.Millisecond)
	expect(200, "while a permission is cached")
	clock.Step(2 * time.Millisecond)
	expect(403, "after that")
}

// Requests with invalid tokens fill neither memory nor log.
func (w *environment) testBoundedCache(t *testing.T) {
	s := w.serve(t, testingclock.NewFakeClock(time.Now()), nil)
	for i := range cacheSize + 1 {
		s.get(t, "/metrics", fmt.Sprintf("Bearer %d", i))
	}
	s.get(t, "/metrics", fmt.Sprintf("Bearer %d", cacheSize))
	logged, reviews := s.recorded()
	if len(reviews) != cacheSize+1 {
		t.Errorf("%d reviews, want %d, since the last is cached", len(reviews), cacheSize+1)
	}
	if len(logged) != 1 {
		t.Errorf("logged %d lines, want 1", len(logged))
	}
	s.get(t, "/metrics", "Bearer 0")
	if _, reviews := s.recorded(); len(reviews) != cacheSize+2 {
		t.Errorf("%d reviews, want %d, since the first was evicted", len(reviews), cacheSize+2)
	}
}

// The filter of the manager: it sends reviews to the API server of its configuration, and
// allows no request if that is unreachable.
func (w *environment) testWithoutAPIServer(t *testing.T) {
	unreachable := rest.CopyConfig(w.config)
	unreachable.Host = "https://127.0.0.1:1"
	for config, want := range map[*rest.Config]int{w.config: http.StatusOK, unreachable: http.StatusInternalServerError} {
		httpClient, err := rest.HTTPClientFor(config)
		must(t, err)
		filter, err := Filter(config, httpClient)
		must(t, err)
		s := &scraped{}
		s.start(t, filter)
		if status, text, _ := s.get(t, "/metrics", "Bearer "+w.prometheus); status != want {
			t.Errorf("%s: got %d %s, want %d", config.Host, status, text, want)
		}
		if logged, _ := s.recorded(); (len(logged) > 0) != (want != http.StatusOK) {
			t.Errorf("%s: logged %q", config.Host, logged)
		}
	}
}
