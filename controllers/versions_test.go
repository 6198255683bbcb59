package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func TestBehind(t *testing.T) {
	object := func(uid, version string, deleted bool, finalizers ...string) client.Object {
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "m", ResourceVersion: version, Finalizers: finalizers}}
		model.UID = types.UID(uid)
		if deleted {
			model.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		return model
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
		// The API server answers with the version from before the deletion.
		{"the write deleted it", object("a", "7", true), object("a", "7", true, "f"), true},
		{"the write deleted an earlier object of that name", object("a", "7", true), object("b", "8", false), false},
		{"being deleted, with another finalizer left", object("a", "7", true, "g"), object("a", "7", true, "g"), false},
	} {
		versions := newVersions()
		versions.wrote(test.written)
		if got := versions.behind(test.cache); got != test.want {
			t.Errorf("%s: behind is %t", test.name, got)
		}
		versions.forget(client.ObjectKeyFromObject(test.written))
		if versions.behind(test.cache) {
			t.Errorf("%s: behind although forgotten", test.name)
		}
	}
}
