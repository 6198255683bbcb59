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

// A missing right is told once in a while, however often it is refused, each on its
// own, and the memory of that is bounded.
func TestMissingRightsAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		ctx := logr.NewContext(t.Context(), funcr.New(func(string, string) { told++ }, funcr.Options{}))
		handle := tellMissingRights()
		refuse := func(resource string) {
			handle(ctx, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no")))
		}
		expect := func(want int, when string) {
			t.Helper()
			if told != want {
				t.Errorf("%s: told %d times, want %d", when, told, want)
			}
		}
		refuse("models")
		expect(1, "at first")
		time.Sleep(tellAgain - time.Second)
		refuse("models")
		expect(1, "within the pause")
		refuse("servers")
		expect(2, "another right")
		time.Sleep(2 * time.Second)
		refuse("models")
		expect(3, "after the pause")
		for i := range messagesKept + 1 {
			refuse(fmt.Sprint(i))
		}
		told = 0
		refuse("models")
		expect(1, "forgotten, since there were so many others")
	})
}
