// Package access lets those read metrics who authenticate at the API server by a
// token, and may get the path by RBAC. It does what controller-runtime's
// filters.WithAuthenticationAndAuthorization does for such, without k8s.io/apiserver,
// which adds 10 MiB to the resident memory of a program that needs 70.
//
// In come requests over HTTP; what passes goes to the handler behind, unchanged. All
// else is answered here: 401 without a valid token, 403 for who may not, and 500 if
// the API server cannot be asked.
package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// How long an answer of the API server about a token holds, how long it may take,
// how many answers are kept, and how often is told of the same trouble.
const (
	allowedFor   = time.Minute
	deniedFor    = 10 * time.Second
	reviewWithin = 10 * time.Second
	answersKept  = 128
	toldEvery    = time.Minute
)

// Filter is for [metricsserver.Options]. It asks the API server of config, by
// httpClient, which takes the rights to create tokenreviews and
// subjectaccessreviews.
func Filter(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{authenticationv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	reviews, err := client.New(config, client.Options{HTTPClient: httpClient, Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("let nobody but the entitled read metrics: %w", err)
	}
	return newAccess(reviews, cache.NewLRUExpireCache(answersKept)).filter, nil
}

// access asks the API server who may read what.
type access struct {
	reviews client.Client
	answers *cache.LRUExpireCache

	// Strangers can make as many requests as they like.
	failed, refused rate.Sometimes
}

func newAccess(reviews client.Client, answers *cache.LRUExpireCache) *access {
	return &access{
		reviews: reviews, answers: answers,
		failed: rate.Sometimes{Interval: toldEvery}, refused: rate.Sometimes{Interval: toldEvery},
	}
}

// filter is a [metricsserver.Filter].
func (a *access) filter(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := a.ask(r)
		if err != nil {
			a.failed.Do(func() { log.Error(err, "Cannot find out who may read metrics") })
			http.Error(w, "who you are cannot be found out; see the operator's log", http.StatusInternalServerError)
			return
		}
		if answer.trouble != "" {
			a.refused.Do(func() { log.Info("Somebody may not read metrics", "error", answer.trouble, "from", r.RemoteAddr) })
		}
		switch answer.status {
		case http.StatusOK:
			next.ServeHTTP(w, r)
			return
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, answer.reason, answer.status)
	}), nil
}

// answer is an HTTP status, and why it is not 200.
type answer struct {
	status int
	reason string
	// trouble is what the API server says of a no, for the operator's log: it may be
	// its own trouble, which strangers need not know of.
	trouble string
}

// question is what an answer is kept for. It holds no token that works.
type question struct {
	token        [sha256.Size]byte
	method, path string
}

// ask finds the answer to a request. An error is not one, and is not kept.
func (a *access) ask(r *http.Request) (answer, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return answer{status: http.StatusUnauthorized, reason: "give the token of a ServiceAccount: Authorization: Bearer …"}, nil
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

// review has the API server find out whose the token is, and what they may.
func (a *access) review(ctx context.Context, token string, asked question) (answer, error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := a.reviews.Create(ctx, who); err != nil {
		return answer{}, fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return answer{http.StatusUnauthorized, "the token is not valid", who.Status.Error}, nil
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
		"%s may not %s %s: bind it to a ClusterRole with that nonResourceURL, such as the metrics-reader of the install", user.Username, asked.method, asked.path),
		may.Status.EvaluationError}, nil
}
