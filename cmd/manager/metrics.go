package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// How long an answer of the API server about a token holds, how long it may take,
// and how many answers are kept.
const (
	allowedFor   = time.Minute
	deniedFor    = 10 * time.Second
	reviewWithin = 10 * time.Second
	answersKept  = 128
)

// metricsOptions say how metrics are served.
func (s *settings) metricsOptions() metricsserver.Options {
	options := metricsserver.Options{BindAddress: s.metricsAddress, SecureServing: s.secureMetrics()}
	if options.SecureServing {
		options.FilterProvider = accessFilter
		// Of no use to a scrape, and has been a way to exhaust servers (CVE-2023-44487).
		options.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	return options
}

// accessFilter lets those read metrics who authenticate at the API server by a
// token, and may get the path by RBAC. It does what controller-runtime's
// filters.WithAuthenticationAndAuthorization does for such, without k8s.io/apiserver,
// which adds 10 MiB to the resident memory of a program that needs 70.
func accessFilter(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	reviews, err := client.New(config, client.Options{HTTPClient: httpClient, Scheme: newScheme()})
	if err != nil {
		return nil, fmt.Errorf("let nobody but the entitled read metrics: %w", err)
	}
	a := &access{reviews: reviews, answers: cache.NewLRUExpireCache(answersKept)}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, err := a.ask(r)
			switch {
			case err != nil:
				log.Error(err, "Cannot find out who may read metrics")
				http.Error(w, "who you are cannot be found out; see the operator's log", http.StatusInternalServerError)
			case answer.status != http.StatusOK:
				if answer.status == http.StatusUnauthorized {
					w.Header().Set("WWW-Authenticate", "Bearer")
				}
				http.Error(w, answer.reason, answer.status)
			default:
				next.ServeHTTP(w, r)
			}
		}), nil
	}, nil
}

// access asks the API server who may read what.
type access struct {
	reviews client.Client
	answers *cache.LRUExpireCache
}

// answer is an HTTP status, and why it is not 200.
type answer struct {
	status int
	reason string
}

// question is what an answer is kept for. It holds no token that works.
type question struct {
	token        [sha256.Size]byte
	method, path string
}

func (a *access) ask(r *http.Request) (answer, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return answer{http.StatusUnauthorized, "give the token of a ServiceAccount: Authorization: Bearer …"}, nil
	}
	asked := question{sha256.Sum256([]byte(token)), strings.ToLower(r.Method), r.URL.Path}
	if known, found := a.answers.Get(asked); found {
		return known.(answer), nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewWithin)
	defer cancel()
	answered, err := a.review(ctx, token, asked)
	if err != nil {
		return answer{}, err
	}
	keep := deniedFor
	if answered.status == http.StatusOK {
		keep = allowedFor
	}
	a.answers.Add(asked, answered, keep)
	return answered, nil
}

func (a *access) review(ctx context.Context, token string, asked question) (answer, error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := a.reviews.Create(ctx, who); err != nil {
		return answer{}, fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return answer{http.StatusUnauthorized, "the token is not valid"}, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: asked.method, Path: asked.path},
	}}
	if err := a.reviews.Create(ctx, may); err != nil {
		return answer{}, fmt.Errorf("review the access of %s: %w", user.Username, err)
	}
	if may.Status.Allowed {
		return answer{status: http.StatusOK}, nil
	}
	return answer{http.StatusForbidden, fmt.Sprintf(
		"%s may not %s %s: bind it to a ClusterRole with that nonResourceURL, such as the metrics-reader of the install", user.Username, asked.method, asked.path)}, nil
}
