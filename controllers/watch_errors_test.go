package controllers

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Each missing permission is logged once per interval, however often it causes an error, and
// the number of remembered messages is bounded.
func TestMissingPermissionsAreLoggedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := 0
		ctx := logr.NewContext(t.Context(), funcr.New(func(string, string) { logged++ }, funcr.Options{}))
		handle := logForbiddenWatches()
		forbid := func(resource string) {
			handle(ctx, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no")))
		}
		expect := func(want int, when string) {
			t.Helper()
			if logged != want {
				t.Errorf("%s: logged %d times, want %d", when, logged, want)
			}
		}
		forbid("models")
		expect(1, "at first")
		time.Sleep(relogInterval - time.Second)
		forbid("models")
		expect(1, "within the pause")
		forbid("servers")
		expect(2, "another permission")
		time.Sleep(2 * time.Second)
		forbid("models")
		expect(3, "after the pause")
		for i := range dedupCacheSize + 1 {
			forbid(fmt.Sprint(i))
		}
		logged = 0
		forbid("models")
		expect(1, "forgotten, since there were so many others")
	})
}
