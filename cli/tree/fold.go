package tree

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// groups are the kinds whose objects are shown below one line with their number, with the
// titles.
var groups = []struct{ kind, title string }{
	{modelKind.Kind, "Models"}, {pipelineKind.Kind, "Pipelines"}, {experimentKind.Kind, "Experiments"},
}

// Group returns copies of the nodes with Models, Pipelines and Experiments below one node for
// each of the kinds.
func Group(nodes []*Node) []*Node {
	var result []*Node
	grouped := map[string]*Node{}
	for _, n := range nodes {
		copied := *n
		copied.Children = Group(n.Children)
		at := slices.IndexFunc(groups, func(g struct{ kind, title string }) bool { return g.kind == n.Kind })
		if at < 0 {
			result = append(result, &copied)
			continue
		}
		key := n.Namespace + "/" + n.Kind
		if grouped[key] == nil {
			grouped[key] = &Node{Title: groups[at].title, Namespace: n.Namespace}
			result = append(result, grouped[key])
		}
		grouped[key].Children = append(grouped[key].Children, &copied)
	}
	for _, group := range grouped {
		ready := 0
		for _, child := range group.Children {
			if child.IsHealthy() {
				ready++
			}
		}
		total := len(group.Children)
		group.Title = fmt.Sprintf("%s (%d)", group.Title, total)
		group.Ready, group.Status = False, fmt.Sprintf("%d of %d ready", ready, total)
		if ready == total {
			group.Ready = True
		}
	}
	return result
}

// Fold returns copies of grouped nodes in which one line replaces several healthy siblings with
// their descendants. Roots and Servers are always shown.
func Fold(nodes []*Node) []*Node {
	var result []*Node
	for _, n := range nodes {
		copied := *n
		copied.Children = foldChildren(n)
		result = append(result, &copied)
	}
	return result
}

// foldChildren returns the children of a node: conditions and what is not healthy, one line for
// the other child objects, then Servers and groups.
func foldChildren(parent *Node) []*Node {
	var first, healthy, last []*Node
	for _, n := range parent.Children {
		switch {
		case n.Kind == kindCondition && n.IsHealthy():
		case n.Kind == serverKind.Kind || n.Title != "":
			last = append(last, Fold([]*Node{n})...)
		case allHealthy(n):
			healthy = append(healthy, n)
		default:
			first = append(first, Fold([]*Node{n})...)
		}
	}
	switch objects, _ := Count(healthy); {
	case objects == 1 && parent.Title == "":
		first = append(first, healthy...)
	case objects > 1 && parent.Title == "":
		first = append(first, &Node{Title: countKinds(healthy), Ready: True, Status: nothing, Namespace: parent.Namespace})
	}
	return append(first, last...)
}

// countKinds returns a text such as "7 workloads, 9 pods, 14 other objects".
func countKinds(nodes []*Node) string {
	var workloads, pods, others int64
	for _, n := range All(nodes) {
		switch {
		case n.Kind == podKind.Kind:
			pods++
		case object.IsWorkload(schema.FromAPIVersionAndKind(n.APIVersion, n.Kind).GroupKind()):
			workloads++
		default:
			others++
		}
	}
	var parts []string
	for _, part := range []struct {
		number    int64
		one, many string
	}{{workloads, "workload", "workloads"}, {pods, "pod", "pods"}, {others, "other object", "other objects"}} {
		if part.number > 0 {
			parts = append(parts, count(part.number, part.one, part.many))
		}
	}
	text := strings.Join(parts, ", ")
	if workloads+pods == 0 {
		text = strings.Replace(text, " other", "", 1)
	}
	return text
}
