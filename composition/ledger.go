package composition

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// digest identifies a piece of JSON.
type digest [sha256.Size]byte

// String is short enough for an annotation and long enough to be unique.
func (d digest) String() string { return hex.EncodeToString(d[:8]) }

// digestOf hashes decoded JSON, whose maps encoding/json writes in key order.
func digestOf(value any) digest {
	if object, isObject := value.(*unstructured.Unstructured); isObject {
		value = object.Object
	}
	text, err := json.Marshal(value)
	if err != nil {
		return digest{} // equal to nothing that was recorded: see mark.sees
	}
	return sha256.Sum256(text)
}

// contentOf hashes what a drift would change in a live object: everything but
// status and the server's own metadata, and the fields that manager owns.
func contentOf(live *unstructured.Unstructured, manager string) digest {
	content := make(map[string]any, len(live.Object))
	for key, value := range live.Object {
		if key != "status" && key != "metadata" {
			content[key] = value
		}
	}
	content["metadata"] = map[string]any{
		"uid":             live.GetUID(),
		"labels":          live.GetLabels(),
		"annotations":     live.GetAnnotations(),
		"ownerReferences": live.GetOwnerReferences(),
		"deleting":        live.GetDeletionTimestamp() != nil,
		"owned":           appliedFields(live, manager),
	}
	return digestOf(content)
}

// mark is what is remembered of a child that was found in step, or was applied.
type mark struct {
	// desired is the digest of the apply configuration.
	desired digest
	// content and resourceVersion are of the live object that goes with it.
	content         digest
	resourceVersion string
	// at is when the child was applied and asApplied what came back; zero if it
	// was found in step. They stand in for the cache until that has caught up.
	at        time.Time
	asApplied *unstructured.Unstructured
	// corrections are the times of the last writes against drift.
	corrections []time.Time
}

// sees tells whether live is what the mark remembers, or is an older state of it
// than our own last write, from a cache that lags.
func (m mark) sees(live *unstructured.Unstructured, manager string) bool {
	if live.GetResourceVersion() == m.resourceVersion {
		return true
	}
	if order, err := resourceversion.CompareResourceVersion(live.GetResourceVersion(), m.resourceVersion); err == nil && order < 0 {
		return true
	}
	return m.content != digest{} && contentOf(live, manager) == m.content
}

// ledger holds the marks of all instances, by owner. It is a cache of the
// cluster's state: losing it costs reads, never correctness.
type ledger struct {
	mu     sync.Mutex
	owners map[types.UID]*account
}

// account is what is remembered of one owner.
type account struct {
	marks map[Key]mark
	// contacted: the owner's objects without our label were listed.
	contacted bool
}

func newLedger() *ledger { return &ledger{owners: map[types.UID]*account{}} }

// account of an owner. One reconcile at a time uses it: the workqueue never hands
// out a key twice.
func (l *ledger) account(uid types.UID) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners[uid] == nil {
		l.owners[uid] = &account{marks: map[Key]mark{}}
	}
	return l.owners[uid]
}

func (l *ledger) forget(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, uid)
}

// found remembers that live was found in step with desired.
func (a *account) found(key Key, desired digest, live *unstructured.Unstructured, manager string) {
	old := a.marks[key]
	if old.asApplied == live || old.asApplied == nil && old.desired == desired && old.resourceVersion == live.GetResourceVersion() {
		return // still waiting for the cache, or nothing new
	}
	a.marks[key] = mark{
		desired:         desired,
		content:         contentOf(live, manager),
		resourceVersion: live.GetResourceVersion(),
		corrections:     old.corrections,
	}
}

// applied remembers that the API server gave live back for desired.
func (a *account) applied(key Key, desired digest, live *unstructured.Unstructured, manager string, at time.Time) {
	a.marks[key] = mark{
		desired:         desired,
		content:         contentOf(live, manager),
		resourceVersion: live.GetResourceVersion(),
		at:              at,
		asApplied:       live,
		corrections:     a.marks[key].corrections,
	}
}

// isOurs tells whether object was applied by manager and is labelled, which is
// what tells an adopted object from one that still has to be.
func isOurs(object metav1.Object, policy Policy) bool {
	return object.GetLabels()[policy.OwnerLabel()] != "" && appliedFields(object, policy.Manager) != nil
}
