package compose

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
)

// objects parses objects.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	parsed, err := manifest.Parse("text", strings.NewReader(text), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Contents(parsed)
}

const application = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: app}, annotations: {note: text}}
    spec:
      nodeSelector: {zone: a}
      hostAliases: [{ip: 10.0.0.1, hostnames: [db]}]
      dnsConfig: {options: [{name: ndots, value: "2"}]}
      futureField: true
      shareProcessNamespace: true
      securityContext: {runAsUser: 5, fsGroup: 7, seccompProfile: {type: RuntimeDefault}}
      initContainers:
      - {name: first, image: i, command: [prepare]}
      - {name: proxy, image: i, restartPolicy: Always}
      containers:
      - name: app
        image: i
        imagePullPolicy: Always
        command: ["run", "$$(A)", "$(A)", "$(MISSING)", "cost$", "$HOME"]
        workingDir: /w
        env:
        - {name: A, value: "a$b"}
        - {name: B, value: "<$(A)>"}
        - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
        - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: MEGABYTES, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1M}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: k}}}
        envFrom: [{configMapRef: {name: settings}, prefix: S_}, {secretRef: {name: db}}]
        resources: {limits: {cpu: 1500m, memory: 5M, ephemeral-storage: 1G}}
        readinessProbe: {exec: {command: [check]}}
        lifecycle: {postStart: {exec: {command: [hello]}}, preStop: {sleep: {seconds: 1}}}
        securityContext:
          {runAsUser: 6, runAsGroup: 8, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_ADMIN]}, procMount: Default}
        volumeMounts:
        - {name: settings, mountPath: /etc/k, subPath: k}
        - {name: items, mountPath: /etc/items}
        - {name: secret, mountPath: /etc/secret, readOnly: true}
        - {name: scratch, mountPath: /scratch}
        - {name: memory, mountPath: /memory}
        - {name: shared, mountPath: /shared}
        - {name: claim, mountPath: /claim, subPath: part}
        - {name: host, mountPath: /host}
        - {name: nfs, mountPath: /nfs}
      - {name: other, image: i, ports: [{containerPort: 53, protocol: UDP}], volumeMounts: [{name: shared, mountPath: /shared}], readinessProbe: {grpc: {port: 5}}}
      volumes:
      - {name: settings, configMap: {name: settings}}
      - {name: items, configMap: {name: settings, items: [{key: k, path: deep/k.txt}]}}
      - {name: secret, secret: {secretName: db}}
      - {name: scratch, emptyDir: {sizeLimit: 1M}}
      - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1M}}
      - {name: shared, emptyDir: {medium: Memory}}
      - {name: claim, persistentVolumeClaim: {claimName: claim}}
      - {name: host, hostPath: {path: /srv}}
      - {name: nfs, nfs: {server: s, path: /}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {k: "v$"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {password: hidden}}
---
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {type: LoadBalancer, selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: app}, spec: {}}
`

func TestContainer(t *testing.T) {
	result, text := translate(t, objects(t, application), Options{})
	project := load(t, text, map[string]string{"DB_PASSWORD": "p"})
	app, pod := project.Services["app-1.app"], project.Services["app-1"]
	environment := map[string]string{}
	for name, value := range app.Environment {
		environment[name] = *value
	}
	if want := map[string]string{
		"A": "a$b", "B": "<a$b>", "LABEL": "app", "NOTE": "text", "CPUS": "2", "MEGABYTES": "5", "PASSWORD": "p", "password": "p", "KEY": "v$", "S_k": "v$",
	}; !maps.Equal(environment, want) {
		t.Errorf("environment is %v", environment)
	}
	if want := []string{"run", "$(A)", "a$b", "$(MISSING)", "cost$", "$HOME"}; !slices.Equal(app.Entrypoint, want) {
		t.Errorf("command is %q", app.Entrypoint)
	}
	for what, holds := range map[string]bool{
		"user":              app.User == "6:8" && slices.Equal(app.GroupAdd, []string{"7"}),
		"capabilities":      slices.Equal(app.CapDrop, []string{"ALL"}) && slices.Equal(app.CapAdd, []string{"NET_ADMIN"}) && slices.Equal(app.SecurityOpt, []string{"no-new-privileges:true"}),
		"pull policy":       app.PullPolicy == "always",
		"process namespace": app.Pid == "service:app-1",
		"own check":         app.HealthCheck != nil && slices.Equal(app.HealthCheck.Test, []string{"CMD", "check"}),
		"hook":              len(app.PostStart) == 1 && app.PostStart[0].Command[0] == "hello" && len(app.PreStop) == 0,
		"hosts":             len(pod.ExtraHosts["db"]) == 1 && slices.Equal(pod.DNSOpts, []string{"ndots:2"}),
		"ports":             slices.Equal(pod.Expose, []string{"53/udp"}),
		"gRPC":              pod.HealthCheck != nil && strings.Contains(pod.HealthCheck.Test[1], "127.0.0.1 5"),
		"init": app.DependsOn["app-1.first"].Condition == types.ServiceConditionCompletedSuccessfully && app.DependsOn["app-1.proxy"].Condition == types.ServiceConditionStarted &&
			project.Services["app-1.first"].Restart == "no" && project.Services["app-1.proxy"].DependsOn["app-1.first"].Condition == types.ServiceConditionCompletedSuccessfully,
		"permissions":          strings.Contains(strings.Join(project.Services[permissionsService].Command, " "), "chmod 0777 '/volumes/app-1.scratch'"),
		"first replica's port": len(project.Services["app-0"].Ports) == 1 && project.Services["app-0"].Ports[0].Target == 8080 && len(pod.Ports) == 0,
	} {
		if !holds {
			t.Errorf("wrong: %s", what)
		}
	}
	mounted := map[string]string{}
	for _, volume := range app.Volumes {
		mounted[volume.Target] = volume.Type + " " + volume.Source
		if volume.Volume != nil {
			mounted[volume.Target] += volume.Volume.Subpath
		}
	}
	for _, config := range app.Configs {
		mounted[config.Target] = "config " + project.Configs[config.Source].Content
	}
	for _, secret := range app.Secrets {
		mounted[secret.Target] = "secret " + project.Secrets[secret.Source].File
	}
	if want := map[string]string{
		"/etc/k": "config v$", "/etc/items/deep/k.txt": "config v$", "/etc/secret/password": "secret /project/secrets/db/password",
		"/scratch": "volume app-1.scratch", "/memory": "tmpfs ", "/shared": "volume app-1.shared", "/claim": "volume claimpart", "/host": "bind /srv",
	}; !maps.Equal(mounted, want) {
		t.Errorf("mounts are %q", mounted)
	}
	for _, want := range []string{
		"nodeSelector (Deployment app): ", "futureField (Deployment app): ", "$(MISSING) (Deployment app/app): ", "env NODE (Deployment app/app): ",
		"resources.limits.ephemeral-storage (Deployment app/app): ", "lifecycle.preStop (Deployment app/app): ", "containers.securityContext.procMount (Deployment app/app): ",
		"volumes.nfs (Deployment app): ", "PodDisruptionBudget (app): ", "containers.readinessProbe.grpc (Deployment app/other): ", "port 80 of Services (Service app): ",
		"containers.securityContext.readOnlyRootFilesystem (settings): ", "volumes.emptyDir.sizeLimit (Deployment app): ",
	} {
		if !slices.ContainsFunc(result.Warnings, func(warning string) bool { return strings.HasPrefix(warning, want) }) {
			t.Errorf("there is no warning about %q", want)
		}
	}
	if len(result.Warnings) != 13 {
		t.Errorf("warnings are:\n%s", strings.Join(result.Warnings, "\n"))
	}
	if want := []string{"set the variable DB_PASSWORD to the key password of Secret db", "write the key password of Secret db to ./secrets/db/password"}; !slices.Equal(result.Notes, want) {
		t.Errorf("notes are %q", result.Notes)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: c, image: i, env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]}}}}`:                           `Deployment a/c: env A: there is no ConfigMap "m" with the key "k" among the objects; add it`,
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}}}}`:                                                    `Deployment a/c: volumeMounts: the pod has no volume "v"`,
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, configMap: {name: m}}]}}}}`:        `Deployment a/c: volume v: there is no ConfigMap "m" among the objects; add it`,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: one}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: two}}":                                                                      `the objects are in the namespaces one, two, and a Compose file has one; render each by itself`,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: []}}}}\n---\n{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {template: {spec: {containers: []}}}}": `StatefulSet a: the Compose file already has a service "a-0"; rename the workload`,
	} {
		if _, err := Translate(objects(t, text), Options{}); err == nil || err.Error() != want {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
