package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// warning is a field or kind without a counterpart, and why that matters.
type warning struct{ subject, reason string }

// warn records that a field of an object, or an object of a kind, has no counterpart.
func (t *translation) warn(subject, reason, object string) {
	key := warning{subject, reason}
	if !slices.Contains(t.warnings[key], object) {
		t.warnings[key] = append(t.warnings[key], object)
	}
}

// warningTexts returns the warnings, with all objects of one reason in one line.
func (t *translation) warningTexts() []string {
	var texts []string
	for key, objects := range t.warnings {
		slices.Sort(objects)
		texts = append(texts, fmt.Sprintf("%s (%s): %s", key.subject, strings.Join(objects, ", "), key.reason))
	}
	slices.Sort(texts)
	return texts
}

// translated marks a field that is translated, or that has no effect outside a cluster.
const translated = ""

const (
	noScheduling = "all containers run on one machine"
	noNetwork    = "pods have a network of their own in the Compose file"
)

// podFields are the fields of a pod, and why one has no counterpart.
var podFields = map[string]string{
	"containers": translated, "initContainers": translated, "volumes": translated, "securityContext": translated,
	"terminationGracePeriodSeconds": translated, "hostAliases": translated, "dnsConfig": translated, "dnsPolicy": translated,
	"restartPolicy": translated, "shareProcessNamespace": translated, "enableServiceLinks": translated,
	"automountServiceAccountToken": translated, "serviceAccount": translated, "schedulerName": translated,
	"preemptionPolicy": translated, "priority": translated, "os": translated, "hostname": translated, "subdomain": translated,

	"serviceAccountName":        "there is no Kubernetes API that containers could use",
	"imagePullSecrets":          "use docker login",
	"nodeSelector":              noScheduling,
	"nodeName":                  noScheduling,
	"tolerations":               noScheduling,
	"affinity":                  noScheduling,
	"topologySpreadConstraints": noScheduling,
	"priorityClassName":         noScheduling,
	"hostNetwork":               noNetwork,
	"hostIPC":                   noNetwork,
	"hostPID":                   noNetwork,
}

// containerFields are the fields of a container, and why one has no counterpart.
var containerFields = map[string]string{
	"name": translated, "image": translated, "command": translated, "args": translated, "workingDir": translated,
	"env": translated, "envFrom": translated, "ports": translated, "resources": translated, "volumeMounts": translated,
	"lifecycle": translated, "readinessProbe": translated, "startupProbe": translated, "securityContext": translated,
	"stdin": translated, "tty": translated, "imagePullPolicy": translated, "restartPolicy": translated,
	"terminationMessagePath": translated, "terminationMessagePolicy": translated, "stdinOnce": translated,

	"livenessProbe": "Compose does not restart a container that is not healthy",
}

// securityFields are the fields of securityContext, of pods and of containers.
var securityFields = map[string]string{
	"runAsUser": translated, "runAsGroup": translated, "runAsNonRoot": translated, "fsGroup": translated, "supplementalGroups": translated,
	"fsGroupChangePolicy": translated, "supplementalGroupsPolicy": translated, "sysctls": translated,
	"capabilities": translated, "privileged": translated, "readOnlyRootFilesystem": translated, "allowPrivilegeEscalation": translated,
	"seccompProfile": translated, // see securityOptions
}

// checkPod warns about fields of a pod that have no counterpart.
func (t *translation) checkPod(w *workload, spec map[string]any) {
	t.checkFields(spec, podFields, "", w.String())
	t.checkSecurity(spec, "", w.String())
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := spec[list].([]any)
		for _, each := range containers {
			container, _ := each.(map[string]any)
			of := fmt.Sprintf("%s/%s", w, container["name"])
			t.checkFields(container, containerFields, list+".", of)
			t.checkSecurity(container, list+".", of)
		}
	}
}

// checkSecurity warns about fields of the securityContext of a pod or a container.
func (t *translation) checkSecurity(of map[string]any, prefix, object string) {
	security, _ := of["securityContext"].(map[string]any)
	t.checkFields(security, securityFields, prefix+"securityContext.", object)
}

// checkFields warns about fields that are not translated.
func (t *translation) checkFields(content map[string]any, known map[string]string, prefix, object string) {
	for _, field := range slices.Sorted(maps.Keys(content)) {
		reason, found := known[field]
		switch {
		case !found:
			t.warn(prefix+field, "this field has no counterpart in Compose", object)
		case reason != translated:
			t.warn(prefix+field, reason, object)
		}
	}
}
