package kustomize_test

import (
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/yaml"
)

// peer is an end of a connection: a pod, or, without a namespace, something outside of
// the cluster.
type peer struct {
	namespace string
	labels    map[string]string
}

// named returns the label of the pods of a component.
func named(name string) map[string]string { return map[string]string{"app.kubernetes.io/name": name} }

// TestNetworkPolicies checks which connections the policies allow: all that the
// platform needs, and none of some others.
func TestNetworkPolicies(t *testing.T) {
	operatorPod := map[string]string{"control-plane": "v2-controller-manager"}
	policies := policiesOf(t, build(t, team(t)))
	policies = append(policies, policiesOf(t, build(t, layer(t, []string{filepath.Join(config, "default")}, []string{"network-policies"})))...)

	operator := peer{"seldon-system", operatorPod}
	inTeam := func(name string) peer { return peer{"team", named(name)} }
	prometheus := peer{"monitoring", named("prometheus")}
	outside := peer{}
	dns := peer{"openshift-dns", nil}
	for _, c := range []struct {
		from, to peer
		ports    []int32
		want     bool
	}{
		{operator, inTeam("seldon-scheduler"), []int32{9004, 9044}, true},
		{peer{"team", operatorPod}, inTeam("seldon-scheduler"), []int32{9004, 9044}, true},
		{inTeam("seldon-modelgateway"), inTeam("seldon-scheduler"), []int32{9004, 9044}, true},
		{inTeam("seldon-pipelinegateway"), inTeam("seldon-scheduler"), []int32{9004, 9044}, true},
		{inTeam("hodometer"), inTeam("seldon-scheduler"), []int32{9004, 9044}, true},
		{inTeam("seldon-dataflow-engine"), inTeam("seldon-scheduler"), []int32{9008}, true},
		{inTeam("seldon-envoy"), inTeam("seldon-scheduler"), []int32{9002}, true},
		{inTeam("seldon-server"), inTeam("seldon-scheduler"), []int32{9005, 9055}, true},
		{inTeam("seldon-envoy"), inTeam("seldon-server"), []int32{9001, 9501}, true},
		{inTeam("seldon-envoy"), inTeam("seldon-pipelinegateway"), []int32{9010, 9011}, true},
		{inTeam("seldon-modelgateway"), inTeam("seldon-envoy"), []int32{9000}, true},
		{inTeam("seldon-pipelinegateway"), inTeam("seldon-envoy"), []int32{9000}, true},
		{outside, inTeam("seldon-envoy"), []int32{9000}, true},
		{prometheus, inTeam("seldon-envoy"), []int32{9003}, true},
		{prometheus, inTeam("seldon-pipelinegateway"), []int32{9006}, true},
		{prometheus, inTeam("seldon-server"), []int32{9006, 8082, 8002}, true},
		{prometheus, operator, []int32{8443}, true},
		{operator, dns, []int32{53, 5353}, true},

		{peer{"other", operatorPod}, inTeam("seldon-scheduler"), []int32{9004, 9044}, false},
		{peer{"other", named("seldon-envoy")}, inTeam("seldon-scheduler"), []int32{9002}, false},
		{peer{"other", named("seldon-envoy")}, inTeam("seldon-server"), []int32{9001, 9501}, false},
		{inTeam("seldon-server"), inTeam("seldon-scheduler"), []int32{9004, 9044, 9002}, false},
		{prometheus, inTeam("seldon-server"), []int32{9000, 9001, 9500, 5572, 9007}, false},
		{outside, inTeam("seldon-scheduler"), []int32{9004, 9044, 9002, 9005, 9055, 9008}, false},
		{inTeam("seldon-server"), inTeam("seldon-modelgateway"), []int32{9999}, false},
		{inTeam("seldon-server"), inTeam("seldon-dataflow-engine"), []int32{8000}, false},
		{operator, inTeam("seldon-server"), []int32{9001, 9005}, false},
	} {
		for _, port := range c.ports {
			if got := allowed(t, policies, c.from, c.to, port); got != c.want {
				t.Errorf("%v to %v, port %d: %t, want %t", c.from, c.to, port, got, c.want)
			}
		}
	}
}

// TestNetworkPolicyPorts checks that the policies allow only ports that the default
// configuration declares.
func TestNetworkPolicyPorts(t *testing.T) {
	declared := map[string][]int32{} // by component
	add := func(name string, spec corev1.PodSpec) {
		if declared[name] == nil {
			declared[name] = []int32{} // some have no ports
		}
		for _, container := range spec.Containers {
			for _, port := range container.Ports {
				declared[name] = append(declared[name], port.ContainerPort)
			}
		}
	}
	built := build(t, filepath.Join(config, "default"))
	for _, r := range built.Resources() {
		var object struct {
			Spec struct {
				PodSpec    corev1.PodSpec
				Components []struct {
					Name    string
					PodSpec corev1.PodSpec
				}
			}
		}
		switch r.GetKind() {
		case "SeldonConfig":
			get(t, built, "SeldonConfig", r.GetName(), &object)
			for _, component := range object.Spec.Components {
				add(component.Name, component.PodSpec)
			}
		case "ServerConfig":
			get(t, built, "ServerConfig", r.GetName(), &object)
			add("seldon-server", object.Spec.PodSpec)
		}
	}
	if len(declared) != 7 {
		t.Fatalf("the default configuration has %v, want 7 components", declared)
	}
	policies := policiesOf(t, build(t, team(t)))
	for name, ports := range declared {
		if !slices.ContainsFunc(policies, func(p networkingv1.NetworkPolicy) bool { return matches(t, &p.Spec.PodSelector, named(name)) }) {
			t.Errorf("no policy selects the pods of %s", name)
		}
		for _, policy := range policies {
			if !matches(t, &policy.Spec.PodSelector, named(name)) {
				continue
			}
			for _, rule := range policy.Spec.Ingress {
				for _, port := range rule.Ports {
					if port.Port == nil || !slices.Contains(ports, port.Port.IntVal) {
						t.Errorf("policy %s allows port %v, which %s does not declare", policy.Name, port.Port, name)
					}
				}
			}
		}
	}
}

// allowed returns whether policies allow a connection, as documented for NetworkPolicy:
// if policies select an end of the connection, one of them must allow it, at both ends.
func allowed(t *testing.T, policies []networkingv1.NetworkPolicy, from, to peer, port int32) bool {
	t.Helper()
	// ingress and egress are true if no policy selects that end.
	ingress, egress := true, true
	var ingressAllowed, egressAllowed bool
	for _, p := range policies {
		if selects(t, p, networkingv1.PolicyTypeIngress, to) {
			ingress = false
			for _, rule := range p.Spec.Ingress {
				ingressAllowed = ingressAllowed || permits(t, p.Namespace, rule.From, rule.Ports, from, port)
			}
		}
		if selects(t, p, networkingv1.PolicyTypeEgress, from) {
			egress = false
			for _, rule := range p.Spec.Egress {
				egressAllowed = egressAllowed || permits(t, p.Namespace, rule.To, rule.Ports, to, port)
			}
		}
	}
	return (ingress || ingressAllowed) && (egress || egressAllowed)
}

// selects returns whether a policy selects a pod for ingress or egress.
func selects(t *testing.T, p networkingv1.NetworkPolicy, direction networkingv1.PolicyType, pod peer) bool {
	t.Helper()
	directions := p.Spec.PolicyTypes
	if len(directions) == 0 {
		directions = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			directions = append(directions, networkingv1.PolicyTypeEgress)
		}
	}
	return p.Namespace == pod.namespace && slices.Contains(directions, direction) && matches(t, &p.Spec.PodSelector, pod.labels)
}

// permits returns whether one rule of a policy in a namespace allows a TCP connection. A
// rule without peers allows all peers, and one without ports all ports.
func permits(t *testing.T, namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, other peer, port int32) bool {
	t.Helper()
	return (len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return isPort(t, p, port) })) &&
		(len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return isPeer(t, namespace, p, other) }))
}

// isPort returns whether a rule's port includes a TCP port.
func isPort(t *testing.T, p networkingv1.NetworkPolicyPort, port int32) bool {
	t.Helper()
	switch {
	case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
		return false
	case p.Port == nil:
		return true
	case p.Port.Type == intstr.String:
		t.Fatalf("port %s: named ports are not supported by this test", p.Port)
	case p.EndPort != nil:
		return p.Port.IntVal <= port && port <= *p.EndPort
	}
	return p.Port.IntVal == port
}

// isPeer returns whether a rule's peer, of a policy in a namespace, includes a peer.
func isPeer(t *testing.T, namespace string, p networkingv1.NetworkPolicyPeer, other peer) bool {
	t.Helper()
	switch {
	case p.IPBlock != nil:
		t.Fatalf("%v: IP blocks are not supported by this test", p.IPBlock)
	case other.namespace == "":
		return false
	case p.NamespaceSelector == nil:
		return other.namespace == namespace && matches(t, p.PodSelector, other.labels)
	}
	return matches(t, p.NamespaceSelector, map[string]string{corev1.LabelMetadataName: other.namespace}) &&
		(p.PodSelector == nil || matches(t, p.PodSelector, other.labels))
}

// TestAllowed checks this evaluation of policies against the documentation of
// NetworkPolicy.
func TestAllowed(t *testing.T) {
	web, near, far, outside := peer{"team", named("web")}, peer{"team", named("near")}, peer{"other", named("far")}, peer{}
	from := func(text string) string { return "ingress: [{from: [" + text + "]}]" }
	ports := func(text string) string { return "ingress: [{ports: [" + text + "]}]" }
	for spec, want := range map[string][]peer{
		"podSelector: {matchLabels: {app.kubernetes.io/name: other}}": {near, far, outside},
		"policyTypes: [Egress]":            {far, outside}, // near has no egress
		"policyTypes: [Ingress]":           nil,
		"ingress: []":                      nil,
		"egress: [{}]":                     nil, // the policy is for ingress, too
		"ingress: [{}]":                    {near, far, outside},
		"ingress: [{from: [], ports: []}]": {near, far, outside},
		from("{podSelector: {}}"):          {near},
		from("{namespaceSelector: {}}"):    {near, far},
		from("{namespaceSelector: {}, podSelector: {matchLabels: {app.kubernetes.io/name: far}}}"): {far},
		from("{podSelector: {matchLabels: {app.kubernetes.io/name: far}}}"):                        nil,
		ports("{port: 80}"):                {near, far, outside},
		ports("{port: 81}"):                nil,
		ports("{protocol: TCP}"):           {near, far, outside},
		ports("{protocol: UDP, port: 80}"): nil,
		ports("{port: 79, endPort: 81}"):   {near, far, outside},
		ports("{port: 70, endPort: 79}"):   nil,
	} {
		policy := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "team"}}
		if err := yaml.UnmarshalStrict([]byte(spec), &policy.Spec); err != nil {
			t.Fatal(err)
		}
		for _, p := range []peer{near, far, outside} {
			is := slices.ContainsFunc(want, func(w peer) bool { return w.namespace == p.namespace })
			if got := allowed(t, []networkingv1.NetworkPolicy{policy}, p, web, 80); got != is {
				t.Errorf("%s: %v: %t, want %t", spec, p, got, is)
			}
		}
	}
	out := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "team"}}
	out.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}}}
	for to, want := range map[string]bool{"other": true, "": false} {
		if got := allowed(t, []networkingv1.NetworkPolicy{out}, web, peer{namespace: to}, 80); got != want {
			t.Errorf("to namespace %q: %t, want %t", to, got, want)
		}
	}
}

// policiesOf returns the NetworkPolicies of a build.
func policiesOf(t *testing.T, built resmap.ResMap) []networkingv1.NetworkPolicy {
	t.Helper()
	var policies []networkingv1.NetworkPolicy
	for _, r := range built.Resources() {
		if r.GetKind() == "NetworkPolicy" {
			var p networkingv1.NetworkPolicy
			get(t, built, "NetworkPolicy", r.GetName(), &p)
			policies = append(policies, p)
		}
	}
	return policies
}
