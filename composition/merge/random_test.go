package merge

import (
	"maps"
	"math/rand"
	"slices"
)

// randomPods creates Pods with few names, so that two of them have much in common.
type randomPods struct {
	*rand.Rand

	// plain Pods do not use the rules that StrategicMerge adds to those of Kubernetes: no
	// repeated items, each name always with the same union member and port number, no empty
	// values.
	plain bool
	// override reports whether the Pod is merged over another one; it may remove fields.
	override bool

	// ports are the ports of the Pod, by name, so that a port has one number only.
	ports map[string]map[string]any
}

func (r *randomPods) pick(names ...string) string { return names[r.Intn(len(names))] }

func (r *randomPods) chance(percent int) bool { return r.Intn(100) < percent }

// items returns a list with items of the given names: in random order, some of them missing
// and, in a base that is not plain, some of them twice.
func (r *randomPods) items(newItem func(name string) map[string]any, names ...string) []any {
	list := []any{}
	for _, i := range r.Perm(len(names)) {
		if r.chance(60) {
			list = append(list, newItem(names[i]))
		}
		if !r.plain && !r.override && r.chance(10) {
			list = append(list, newItem(names[i]))
		}
	}
	return list
}

// set sets a field of an object with a probability; in an override also to null.
func (r *randomPods) set(object map[string]any, name string, percent int, value func() any) {
	switch {
	case r.chance(percent):
		object[name] = value()
	case r.override && r.chance(5):
		object[name] = nil
	}
	if r.plain {
		if list, ok := object[name].([]any); ok && len(list) == 0 {
			delete(object, name)
		}
		if m, ok := object[name].(map[string]any); ok && len(m) == 0 {
			delete(object, name)
		}
	}
}

func (r *randomPods) pod() map[string]any {
	spec := map[string]any{}
	r.set(spec, "containers", 95, func() any { return r.items(r.container, "a", "b", "c", "d") })
	r.set(spec, "initContainers", 40, func() any { return r.items(r.container, "i", "j") })
	r.set(spec, "volumes", 60, func() any { return r.items(r.volume, "v", "w", "x") })
	r.set(spec, "imagePullSecrets", 30, func() any {
		return r.items(func(name string) map[string]any { return map[string]any{"name": name} }, "s", "t")
	})
	r.set(spec, "tolerations", 30, func() any {
		return []any{map[string]any{"key": r.pick("a", "b"), "operator": "Exists"}}
	})
	r.set(spec, "nodeSelector", 40, r.labels)
	r.set(spec, "hostNetwork", 30, func() any { return r.chance(50) })
	r.set(spec, "terminationGracePeriodSeconds", 30, func() any { return int64(r.Intn(3)) })
	r.set(spec, "serviceAccountName", 30, func() any { return r.pick("", "a", "b") })
	r.set(spec, "securityContext", 30, func() any {
		context := map[string]any{"runAsNonRoot": r.chance(50)}
		r.set(context, "runAsUser", 50, func() any { return int64(r.Intn(2)) })
		return context
	})
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}, "spec": spec}
}

func (r *randomPods) labels() any {
	object := map[string]any{}
	for _, key := range []string{"a", "b", "c"} {
		r.set(object, key, 50, func() any { return r.pick("", "1", "2") })
	}
	return object
}

func (r *randomPods) container(name string) map[string]any {
	c := map[string]any{"name": name}
	r.set(c, "image", 60, func() any { return r.pick("one", "two") })
	r.set(c, "tty", 20, func() any { return r.chance(50) })
	r.set(c, "args", 30, func() any { return []any{r.pick("--a", "--b"), r.pick("--a", "--b")} })
	r.set(c, "env", 60, func() any { return r.items(r.env, "A", "B", "C", "D") })
	r.set(c, "ports", 50, func() any { return r.items(r.port, "http", "grpc", "dns") })
	r.set(c, "volumeMounts", 40, func() any {
		return r.items(func(path string) map[string]any {
			return map[string]any{"mountPath": path, "name": r.pick("v", "w")}
		}, "/a", "/b")
	})
	r.set(c, "resources", 40, func() any {
		limits := map[string]any{}
		r.set(limits, "cpu", 50, func() any { return r.pick("0", "100m") })
		r.set(limits, "memory", 50, func() any { return r.pick("1Gi", "64Mi") })
		return map[string]any{"limits": limits}
	})
	r.set(c, "readinessProbe", 40, r.probe)
	r.set(c, "lifecycle", 20, func() any { return map[string]any{"preStop": r.handler("sleep")} })
	return c
}

func (r *randomPods) env(name string) map[string]any {
	if name == "A" || !r.plain && r.chance(50) {
		return map[string]any{"name": name, "value": r.pick("", "1", "2")}
	}
	path := map[string]any{"fieldPath": r.pick("metadata.name", "metadata.namespace")}
	if name == "B" || !r.plain && r.chance(50) {
		return map[string]any{"name": name, "valueFrom": map[string]any{"fieldRef": path}}
	}
	key := map[string]any{"name": r.pick("c", "d"), "key": "k"}
	return map[string]any{"name": name, "valueFrom": map[string]any{"configMapKeyRef": key}}
}

func (r *randomPods) port(name string) map[string]any {
	number := map[string]int64{"http": 80, "grpc": 81, "dns": 53}[name]
	port := map[string]any{"name": name, "containerPort": number}
	if r.plain {
		r.set(port, "protocol", 50, func() any { return "TCP" })
		return port
	}
	if r.ports[name] == nil {
		if r.ports == nil {
			r.ports = map[string]map[string]any{}
		}
		if r.chance(20) {
			port["containerPort"] = int64(79 + r.Intn(4))
		}
		if r.chance(50) {
			port["protocol"] = r.pick("TCP", "UDP")
		}
		r.ports[name] = port
	}
	port = maps.Clone(r.ports[name])
	if r.chance(30) {
		delete(port, "name")
	}
	return port
}

func (r *randomPods) volume(name string) map[string]any {
	source := map[string]string{"v": "emptyDir", "w": "configMap", "x": "secret"}[name]
	if !r.plain {
		source = r.pick("emptyDir", "configMap", "secret")
	}
	value := map[string]any{}
	switch source {
	case "emptyDir":
		r.set(value, "medium", 50, func() any { return "Memory" })
		if r.plain {
			value["sizeLimit"] = r.pick("1Gi", "2Gi")
		}
	case "configMap":
		value["name"] = r.pick("c", "d")
	case "secret":
		value["secretName"] = r.pick("c", "d")
	}
	return map[string]any{"name": name, source: value}
}

func (r *randomPods) probe() any {
	probe := r.handler("grpc")
	r.set(probe, "periodSeconds", 50, func() any { return int64(r.Intn(3)) })
	return probe
}

func (r *randomPods) handler(other string) map[string]any {
	kind := "httpGet"
	if !r.plain {
		kind = r.pick("httpGet", "exec", "tcpSocket", other)
	}
	switch kind {
	case "exec":
		return map[string]any{"exec": map[string]any{"command": []any{r.pick("a", "b")}}}
	case "sleep":
		return map[string]any{"sleep": map[string]any{"seconds": int64(r.Intn(2))}}
	case "grpc":
		return map[string]any{"grpc": map[string]any{"port": int64(r.Intn(2))}}
	default:
		get := map[string]any{"port": any("http")}
		if r.chance(50) {
			get["port"] = int64(80)
		}
		return map[string]any{kind: get}
	}
}

// spoilAt puts an invalid value at a random place below an object, not at its root.
func spoilAt(r *rand.Rand, object map[string]any) {
	invalid := []any{
		nil, "text", int64(-1), 1.5, true, map[string]any{}, []any{}, []any{nil}, []any{[]any{}}, []any{"a", "a"},
		map[string]any{"name": map[string]any{}}, []any{map[string]any{"name": []any{}}, map[string]any{"name": nil}},
		map[string]any{patchDirective: r.Intn(2)}, []any{map[string]any{patchDirective: patchReplace}},
	}
	junk := copyJSON(invalid[r.Intn(len(invalid))])
	at := object["spec"]
	for depth := r.Intn(5); ; depth-- {
		switch node := at.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(node))
			keys = append(keys, patchDirective, retainKeysDirective, "new")
			if len(keys) > 3 {
				keys = append(keys, deleteFromDirective+keys[0], setElementOrderPrefix+keys[0])
			}
			key := keys[r.Intn(len(keys))]
			if next, ok := node[key]; ok && depth > 0 {
				at = next
				continue
			}
			if key == patchDirective {
				junk = []any{patchReplace, patchDelete, patchMerge, junk}[r.Intn(4)]
			}
			node[key] = junk
			return
		case []any:
			if len(node) == 0 {
				return
			}
			i := r.Intn(len(node))
			if depth > 0 {
				at = node[i]
				continue
			}
			node[i] = junk
			return
		default:
			return
		}
	}
}
