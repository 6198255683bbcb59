package reconciler

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestIsStale(t *testing.T) {
	object := func(uid, version string, deleted bool, finalizers ...string) client.Object {
		object := &widget{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "m", ResourceVersion: version, Finalizers: finalizers}}
		object.UID = types.UID(uid)
		if deleted {
			object.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		return object
	}
	for _, test := range []struct {
		name           string
		written, cache client.Object
		want           bool
	}{
		{"older than the write", object("a", "7", false), object("a", "6", false), true},
		{"the write", object("a", "7", false), object("a", "7", false), false},
		{"newer than the write", object("a", "7", false), object("a", "8", false), false},
		{"another object of that name", object("a", "7", false), object("b", "6", false), false},
		// The API server returns the version from before the deletion.
		{"the write deleted it", object("a", "7", true), object("a", "7", true, "f"), true},
		{"the write deleted an earlier object of that name", object("a", "7", true), object("b", "8", false), false},
		{"being deleted, with another finalizer left", object("a", "7", true, "g"), object("a", "7", true, "g"), false},
	} {
		writes := newWriteTracker()
		writes.recordWrite(test.written)
		if got := writes.isStale(test.cache); got != test.want {
			t.Errorf("%s: stale is %t", test.name, got)
		}
		writes.forget(client.ObjectKeyFromObject(test.written))
		if writes.isStale(test.cache) {
			t.Errorf("%s: stale although forgotten", test.name)
		}
	}
}
