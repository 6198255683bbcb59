package cli

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// edits are changed objects, and what was changed.
type edits struct {
	names   []string
	objects []*unstructured.Unstructured
}

// edit changes one object, or two, at random. The operator may reconcile between the writes of
// two objects. That would only matter for metadata of pods, which waits for the next rollout,
// so that such a change is of one object alone.
func (f *fixture) edit() edits {
	all := f.allEdits()
	done := edits{}
	changed := map[string]*unstructured.Unstructured{}
	apply := func(one edit) {
		object := changed[one.object]
		if object == nil {
			object = f.applied[one.object].DeepCopy()
			changed[one.object] = object
			done.objects = append(done.objects, object)
		}
		one.change(object.Object)
		done.names = append(done.names, one.object+": "+one.name)
	}
	first, second := all[f.random.IntN(len(all))], all[f.random.IntN(len(all))]
	apply(first)
	if f.random.IntN(2) == 0 && (first.object == second.object || !first.isMetadata() && !second.isMetadata()) {
		apply(second)
	}
	return done
}

// edit is a change of one object.
type edit struct {
	object, name string
	change       func(content map[string]any)
}

// isMetadata reports whether the edit changes labels or annotations of pods.
func (e edit) isMetadata() bool {
	return strings.HasPrefix(e.name, "labels") || strings.HasPrefix(e.name, "annotations")
}

// allEdits returns all kinds of edits, with random values.
func (f *fixture) allEdits() []edit {
	const config, serverConfig, runtime, server = "SeldonConfig/default", "ServerConfig/mlserver", "SeldonRuntime/seldon", "Server/large"
	f.size++ // volumes can only be expanded
	size := fmt.Sprintf("%dGi", f.size)
	value := fmt.Sprint("v", f.random.IntN(1000))
	ratio := fmt.Sprintf("0.%03d", f.random.IntN(1000))
	number := int64(f.random.IntN(3) + 1)
	set := func(value any, path ...string) func(map[string]any) {
		return func(content map[string]any) { must(unstructured.SetNestedField(content, value, path...)) }
	}
	unset := func(path ...string) func(map[string]any) {
		return func(content map[string]any) { unstructured.RemoveNestedField(content, path...) }
	}
	component := func(name string, change func(component map[string]any)) func(map[string]any) {
		return func(content map[string]any) {
			eachItem(content, []string{"spec", "components"}, func(item map[string]any) {
				if item["name"] == name {
					change(item)
				}
			})
		}
	}
	container := func(change func(container map[string]any)) func(map[string]any) {
		return func(workload map[string]any) {
			eachItem(workload, []string{"podSpec", "containers"}, func(item map[string]any) { change(item) })
		}
	}
	setEnv := func(container map[string]any) {
		env, _ := container["env"].([]any)
		for _, each := range env {
			if each.(map[string]any)["name"] == "EDITED" {
				each.(map[string]any)["value"] = value
				return
			}
		}
		container["env"] = append(env, map[string]any{"name": "EDITED", "value": value})
	}
	override := func(entry map[string]any) func(map[string]any) {
		return set([]any{entry}, "spec", "overrides")
	}
	patches := func(text string) []any { return []any{map[string]any{"patch": text}} }
	return []edit{
		{config, "image of Envoy", component("seldon-envoy", container(func(c map[string]any) { c["image"] = "envoy:" + value }))},
		{config, "variable of a gateway", component("seldon-modelgateway", container(setEnv))},
		{config, "variable of the scheduler", component("seldon-scheduler", container(setEnv))},
		{config, "replicas of a gateway", component("seldon-pipelinegateway", func(c map[string]any) { c["replicas"] = number })},
		{config, "replicas of Envoy unset", component("seldon-envoy", func(c map[string]any) { delete(c, "replicas") })},
		{config, "labels of a component", component("seldon-envoy", func(c map[string]any) { c["labels"] = map[string]any{"edited": value} })},
		{config, "larger volumes of the scheduler", component("seldon-scheduler", func(c map[string]any) {
			eachItem(c, []string{"volumeClaimTemplates"}, func(claim map[string]any) {
				must(unstructured.SetNestedField(claim, size, "spec", "resources", "requests", "storage"))
			})
		})},
		{config, "tracing", set(ratio, "spec", "config", "tracingConfig", "ratio")},
		{config, "Kafka's consumer", set(value, "spec", "config", "kafkaConfig", "consumer", "edited")},
		{config, "agent", set([]any{"secret-" + value}, "spec", "config", "agentConfig", "rclone", "config_secrets")},
		{config, "scaling", set(number%2 == 0, "spec", "config", "scalingConfig", "models", "enabled")},
		{config, "port names", set(value+"-", "spec", "config", "serviceConfig", "grpcServicePrefix")},
		{config, "labels", set(map[string]any{"team": value}, "metadata", "labels")},
		{config, "a patch of Services", set(patches(fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: seldon-mesh\n  annotations: {edited: %q}\n", value)), "spec", "patches")},
		{config, "no patches", unset("spec", "patches")},

		{serverConfig, "variable", func(content map[string]any) {
			eachItem(content, []string{"spec", "podSpec", "containers"}, func(c map[string]any) {
				if c["name"] == "mlserver" {
					setEnv(c)
				}
			})
		}},
		{serverConfig, "labels", set(map[string]any{"team": value}, "metadata", "labels")},
		{"ServerConfig/triton", "image", func(content map[string]any) {
			eachItem(content, []string{"spec", "podSpec", "containers"}, func(c map[string]any) {
				if c["name"] == "triton" {
					c["image"] = "triton:" + value
				}
			})
		}},

		{runtime, "replicas of Envoy", override(map[string]any{"name": "seldon-envoy", "replicas": number})},
		{runtime, "hodometer disabled", override(map[string]any{"name": "hodometer", "disable": true})},
		{runtime, "type of a Service", override(map[string]any{"name": "seldon-envoy", "serviceType": []string{"ClusterIP", "NodePort"}[number%2]})},
		{runtime, "variable of the scheduler", override(map[string]any{"name": "seldon-scheduler", "podSpec": map[string]any{"containers": []any{
			map[string]any{"name": "scheduler", "env": []any{map[string]any{"name": "EDITED", "value": value}}}}}})},
		{runtime, "no overrides", set([]any{}, "spec", "overrides")},
		{runtime, "tracing", set(ratio, "spec", "config", "tracingConfig", "ratio")},
		{runtime, "tracing unset", unset("spec", "config", "tracingConfig")},
		{runtime, "Kafka's topic prefix", set(value, "spec", "config", "kafkaConfig", "topicPrefix")},
		{runtime, "labels", set(map[string]any{"cost": value}, "metadata", "labels")},
		{runtime, "annotations", set(map[string]any{"note": value}, "metadata", "annotations")},
		{runtime, "one Server", set([]any{map[string]any{"name": "mlserver", "serverConfig": "mlserver", "replicas": int64(1)}}, "spec", "servers")},
		{runtime, "two Servers", set([]any{
			map[string]any{"name": "mlserver", "serverConfig": "mlserver", "replicas": number},
			map[string]any{"name": "triton", "serverConfig": "triton", "replicas": int64(1)}}, "spec", "servers")},
		{runtime, "a patch of a ConfigMap", set([]any{map[string]any{
			"patch":  fmt.Sprintf("- op: add\n  path: /metadata/annotations\n  value: {edited: %q}\n", value),
			"target": map[string]any{"kind": "ConfigMap", "name": "seldon-agent"}}}, "spec", "patches")},
		{runtime, "no patches", unset("spec", "patches")},

		{server, "replicas", set(number, "spec", "replicas")},
		{server, "variable", set([]any{map[string]any{"name": "triton", "env": []any{map[string]any{"name": "EDITED", "value": value}}}}, "spec", "podSpec", "containers")},
		{server, "no podSpec", unset("spec", "podSpec")},
		{server, "capabilities", set([]any{value}, "spec", "extraCapabilities")},
		{server, "labels", set(map[string]any{"cost": value}, "metadata", "labels")},
		{server, "a patch", set(patches(fmt.Sprintf("apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: large\nspec:\n  minReadySeconds: %d\n", number)), "spec", "patches")},
	}
}

// eachItem changes the items of a list.
func eachItem(content map[string]any, path []string, change func(item map[string]any)) {
	value, _, err := unstructured.NestedFieldNoCopy(content, path...)
	must(err)
	items, _ := value.([]any)
	for _, item := range items {
		change(item.(map[string]any))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
