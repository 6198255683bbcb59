package tree

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ready is whether an object is ready, or the status of a condition.
type Ready string

// Values of [Ready].
const (
	True    Ready = "True"
	False   Ready = "False"
	Unknown Ready = "Unknown"
	// NotApplicable is that of a warning condition.
	NotApplicable Ready = "-"
)

// kindCondition is the kind of the node of a condition.
const kindCondition = "Condition"

// Node is an object of the tree, a condition of its parent, or a line for several objects.
type Node struct {
	APIVersion string    `json:"apiVersion,omitempty"`
	Kind       string    `json:"kind,omitempty"`
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name,omitempty"`
	UID        types.UID `json:"uid,omitempty"`
	// Title of a node for several objects, such as "7 workloads".
	Title string `json:"title,omitempty"`
	Ready Ready  `json:"ready"`
	// Status is a state, or the reason and message of what is not ready, in one line; "-"
	// if there is nothing to add to Ready.
	Status string `json:"status"`
	// Failed is true if the object's controller reports a failure that needs a change.
	Failed bool `json:"failed,omitempty"`
	// CreatedAt is nil for a condition.
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// Terminating is true while the object is being deleted.
	Terminating bool `json:"terminating,omitempty"`
	// Restarts is the number of restarts of the containers of a pod.
	Restarts *int64 `json:"restarts,omitempty"`
	// Revision of a workload's pods, or of a pod.
	Revision string `json:"revision,omitempty"`
	// Served is true for an object that the parent serves and does not own.
	Served   bool    `json:"served,omitempty"`
	Children []*Node `json:"children,omitempty"`
}

// Label returns the text of the node in a tree: the title, or Kind/name.
func (n *Node) Label() string {
	if n.Title != "" {
		return n.Title
	}
	return n.Kind + "/" + n.Name
}

// IsHealthy reports whether the node is ready and has nothing to show.
func (n *Node) IsHealthy() bool { return n.Ready == True && !n.Terminating }

// isObject reports whether the node is one object.
func (n *Node) isObject() bool { return n.Title == "" && n.Kind != kindCondition }

// All returns the nodes and all their descendants, from top to bottom.
func All(nodes []*Node) []*Node {
	var all []*Node
	for _, n := range nodes {
		all = append(append(all, n), All(n.Children)...)
	}
	return all
}

// allHealthy reports whether all nodes and their descendants are healthy.
func allHealthy(nodes ...*Node) bool {
	for _, n := range All(nodes) {
		if !n.IsHealthy() {
			return false
		}
	}
	return true
}

// Count returns the number of objects, and of those which are not ready.
func Count(nodes []*Node) (objects, notReady int) {
	for _, n := range All(nodes) {
		if n.isObject() {
			objects++
			if !n.IsHealthy() {
				notReady++
			}
		}
	}
	return objects, notReady
}

// age returns the time since the creation of the object, at now.
func (n *Node) age(now time.Time) (age time.Duration, known bool) {
	if n.CreatedAt.IsZero() {
		return 0, false
	}
	return max(0, now.Sub(n.CreatedAt.Time)), true
}

// key identifies the node among all objects.
func (n *Node) key(parent *Node) string {
	if n.Kind == kindCondition && parent != nil {
		return parent.key(nil) + "/" + n.Name
	}
	return n.APIVersion + " " + n.Kind + " " + n.Namespace + "/" + n.Name + " " + n.Title
}

// Change is a node that appeared, changed, was recreated or was deleted.
type Change struct {
	*Node
	Deleted bool
}

// Changes compares two trees. Children of the nodes do not count.
func Changes(before, after []*Node) []Change {
	var changes []Change
	old := indexNodes(before)
	for _, each := range flatten(nil, after) {
		if was := old[each.key]; was == nil || was.UID != each.node.UID || was.Ready != each.node.Ready || was.Status != each.node.Status {
			changes = append(changes, Change{Node: each.node})
		}
		delete(old, each.key)
	}
	for _, each := range flatten(nil, before) {
		if old[each.key] != nil {
			deleted := *each.node
			deleted.Ready, deleted.Status, deleted.Children = NotApplicable, "Deleted", nil
			changes = append(changes, Change{Node: &deleted, Deleted: true})
		}
	}
	return changes
}

// keyed is a node with its key.
type keyed struct {
	key  string
	node *Node
}

func flatten(parent *Node, nodes []*Node) []keyed {
	var all []keyed
	for _, n := range nodes {
		all = append(append(all, keyed{n.key(parent), n}), flatten(n, n.Children)...)
	}
	return all
}

func indexNodes(nodes []*Node) map[string]*Node {
	index := map[string]*Node{}
	for _, each := range flatten(nil, nodes) {
		index[each.key] = each.node
	}
	return index
}
