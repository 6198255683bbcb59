package compose

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/cli/internal/render"
)

const namespace = "team-a"

// rendered returns the objects that the operator creates for what files and texts have.
func rendered(t *testing.T, deployments bool, files []string, texts ...string) []*unstructured.Unstructured {
	t.Helper()
	var objects []manifest.Object
	if len(files) > 0 {
		loaded, err := manifest.Load(manifest.Options{FilenameOptions: resource.FilenameOptions{Filenames: files}, Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		objects = loaded
	}
	for _, text := range texts {
		parsed, err := manifest.Parse("text", strings.NewReader(text), namespace)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, parsed...)
	}
	scheme := k8sruntime.NewScheme()
	for _, add := range []func(*k8sruntime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	options := operator.Assumed("")
	options.UseDeployments = deployments
	result, err := render.Render(t.Context(), objects, render.Options{Scheme: scheme, Operator: options})
	if err != nil {
		t.Fatal(err)
	}
	var contents []*unstructured.Unstructured
	for _, object := range result.Objects {
		contents = append(contents, object.Unstructured)
	}
	return contents
}

// translate translates objects, and returns the text of the file as well.
func translate(t *testing.T, objects []*unstructured.Unstructured, options Options) (*Result, string) {
	t.Helper()
	options.ModelsDir, options.SyncImage = "models", "operator:1"
	result, err := Translate(objects, options)
	if err != nil {
		t.Fatal(err)
	}
	text := &bytes.Buffer{}
	if err := result.Project.Write(text, "A comment."); err != nil {
		t.Fatal(err)
	}
	return result, text.String()
}

// load loads a Compose file as Docker Compose does.
func load(t *testing.T, text string, environment map[string]string) *types.Project {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: "/project", ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}}, Environment: environment,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return project
}

func sample(name string) string {
	return filepath.Join("../../../config/samples", "mlops_v1alpha1_"+name+".yaml")
}

const (
	smallRuntime = `{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: seldon}, spec: {seldonConfig: default, servers: [{name: mlserver, serverConfig: mlserver, replicas: 2}]}}`
)

// Everything of the pods of every sample is in the Compose file.
func TestEverythingOfPodsIsTranslated(t *testing.T) {
	for name, test := range map[string]struct {
		files       []string
		deployments bool
		options     Options
	}{
		"default":       {files: []string{sample("seldonruntime")}},
		"overrides":     {files: []string{sample("seldonruntime_overrides"), sample("server")}},
		"deployments":   {files: []string{sample("seldonruntime")}, deployments: true},
		"without Kafka": {files: []string{sample("seldonruntime")}, options: Options{WithoutKafka: true}},
		"folder":        {files: []string{sample("seldonruntime")}, options: Options{ConfigDir: "config"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := rendered(t, test.deployments, test.files)
			result, text := translate(t, objects, test.options)
			project := load(t, text, nil)
			for _, forbidden := range []string{`\$\([A-Z]`, "[fF]ieldRef", `kubernetes\.io`, "valueFrom"} {
				if found := regexp.MustCompile(".*" + forbidden + ".*").FindString(text); found != "" {
					t.Errorf("the file has %q", found)
				}
			}
			pods := 0
			for _, object := range objects {
				pods += checkWorkload(t, project, result, object, test.options.WithoutKafka)
			}
			if pods < 4 {
				t.Errorf("%d pods", pods)
			}
			if _, found := project.Services["sync"]; !found {
				t.Error("there is no service sync")
			}
			if _, found := project.Services["kafka"]; found == test.options.WithoutKafka {
				t.Errorf("there is a broker: %t", found)
			}
		})
	}
}

// checkWorkload compares the pods of a workload with services, and returns their number.
func checkWorkload(t *testing.T, project *types.Project, result *Result, object *unstructured.Unstructured, withoutKafka bool) int {
	t.Helper()
	var replicas int32
	var claims []corev1.PersistentVolumeClaim
	var template corev1.PodTemplateSpec
	switch object.GetKind() {
	case "Deployment":
		typed := &appsv1.Deployment{}
		if err := decode(object, typed); err != nil {
			t.Fatal(err)
		}
		replicas, template = deref(typed.Spec.Replicas, 1), typed.Spec.Template
	case "StatefulSet":
		typed := &appsv1.StatefulSet{}
		if err := decode(object, typed); err != nil {
			t.Fatal(err)
		}
		replicas, template, claims = deref(typed.Spec.Replicas, 1), typed.Spec.Template, typed.Spec.VolumeClaimTemplates
	default:
		return 0
	}
	if withoutKafka && slices.Contains([]string{"seldon-modelgateway", "seldon-pipelinegateway", "seldon-dataflow-engine", "hodometer"}, object.GetName()) {
		if _, found := project.Services[object.GetName()+"-0"]; found {
			t.Errorf("%s is in the file", object.GetName())
		}
		return 0
	}
	volumes := map[string]corev1.Volume{}
	for _, volume := range template.Spec.Volumes {
		volumes[volume.Name] = volume
	}
	for i := range replicas {
		pod := fmt.Sprintf("%s-%d", object.GetName(), i)
		owner, found := project.Services[pod]
		if !found {
			t.Errorf("there is no service %s", pod)
			continue
		}
		for _, container := range template.Spec.Containers {
			service, found := project.Services[pod+"."+container.Name]
			if !found {
				t.Errorf("there is no service %s.%s", pod, container.Name)
				continue
			}
			checkContainer(t, result, container, service, owner, volumes, claims)
		}
	}
	return int(replicas)
}

// expanded expands references as the kubelet does, for texts that escape nothing.
func expanded(text string, environment types.MappingWithEquals) string {
	return regexp.MustCompile(`\$\(([A-Za-z0-9_]+)\)`).ReplaceAllStringFunc(text, func(reference string) string {
		if value := environment[reference[2:len(reference)-1]]; value != nil {
			return *value
		}
		return reference
	})
}

// changedOnPurpose reports whether the result lists a value as changed.
func changedOnPurpose(result *Result, container, name, value string) bool {
	return slices.ContainsFunc(result.Changes, func(change string) bool {
		return strings.Contains(change, "/"+container+": ") && strings.Contains(change, name) && strings.Contains(change, value)
	})
}

// checkContainer compares a container with a service.
func checkContainer(t *testing.T, result *Result, c corev1.Container, service, owner types.ServiceConfig, volumes map[string]corev1.Volume, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	name := service.Name
	if service.Image != c.Image || service.NetworkMode != "service:"+owner.Name || !service.DependsOn[owner.Name].Restart {
		t.Errorf("%s: image %q, network %q, %v", name, service.Image, service.NetworkMode, service.DependsOn)
	}
	for _, variable := range c.Env {
		got, set := service.Environment[variable.Name]
		optional := variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil && deref(variable.ValueFrom.SecretKeyRef.Optional, false)
		switch {
		case !set && !optional:
			t.Errorf("%s: %s is not set", name, variable.Name)
		case variable.ValueFrom != nil:
		case *got != expanded(variable.Value, service.Environment) && !changedOnPurpose(result, c.Name, variable.Name, strconv.Quote(*got)):
			t.Errorf("%s: %s is %q, want %q", name, variable.Name, *got, variable.Value)
		}
	}
	texts := func(what string, want []string, got []string) {
		for i, text := range want {
			if i >= len(got) || got[i] != expanded(text, service.Environment) && !changedOnPurpose(result, c.Name, "argument", got[i]) {
				t.Errorf("%s: %s %d is not %q: %q", name, what, i, text, got)
			}
		}
	}
	texts("command", c.Command, service.Entrypoint)
	texts("argument", c.Args, service.Command)
	for _, port := range c.Ports {
		if !slices.Contains(owner.Expose, strconv.Itoa(int(port.ContainerPort))) {
			t.Errorf("%s: port %d is not exposed", name, port.ContainerPort)
		}
	}
	for _, mount := range c.VolumeMounts {
		secret := volumes[mount.Name].Secret
		isClaim := slices.ContainsFunc(claims, func(claim corev1.PersistentVolumeClaim) bool { return claim.Name == mount.Name })
		switch under := mountsUnder(service, mount.MountPath); {
		case mount.MountPath == "/dev/shm":
			if service.ShmSize == 0 {
				t.Errorf("%s: the size of shared memory is not set", name)
			}
		case secret != nil && deref(secret.Optional, false):
		case len(under) == 0:
			t.Errorf("%s: nothing is mounted at %s", name, mount.MountPath)
		case isClaim && under[0] != mount.Name+"-"+owner.Name:
			t.Errorf("%s: volume %s is mounted at %s", name, under[0], mount.MountPath)
		}
	}
	if limit, has := c.Resources.Limits[corev1.ResourceMemory]; has && int64(service.Deploy.Resources.Limits.MemoryBytes) != limit.Value() {
		t.Errorf("%s: memory is %d, want %d", name, service.Deploy.Resources.Limits.MemoryBytes, limit.Value())
	}
	if gpus, has := c.Resources.Limits["nvidia.com/gpu"]; has && int64(service.Deploy.Resources.Reservations.Devices[0].Count) != gpus.Value() {
		t.Errorf("%s: devices are %v", name, service.Deploy.Resources.Reservations.Devices)
	}
}

// mountsUnder returns what is mounted at a path or in it.
func mountsUnder(service types.ServiceConfig, path string) []string {
	var found []string
	within := func(source, target string) {
		if target == path || strings.HasPrefix(target, path+"/") {
			found = append(found, source)
		}
	}
	for _, volume := range service.Volumes {
		within(volume.Source, volume.Target)
	}
	for _, config := range service.Configs {
		within(config.Source, config.Target)
	}
	for _, secret := range service.Secrets {
		within(secret.Source, secret.Target)
	}
	return found
}

// The names that programs connect to are names of pods on the network of the project.
func TestNames(t *testing.T) {
	_, text := translate(t, rendered(t, false, []string{sample("seldonruntime_overrides")}), Options{})
	project := load(t, text, nil)
	has := map[string][]string{}
	for name, service := range project.Services {
		if network := service.Networks["default"]; network != nil && service.NetworkMode == "" {
			for _, alias := range append(slices.Clone(network.Aliases), name) {
				has[alias] = append(has[alias], name)
			}
		}
	}
	for alias, want := range map[string]int{
		"seldon-scheduler": 1, "seldon-mesh": 2, "mlserver-0": 1, "mlserver-1": 1, "seldon-pipelinegateway": 1,
		"kafka": 1, "kafka.streaming": 1,
	} {
		if len(has[alias]) != want {
			t.Errorf("%s is %v", alias, has[alias])
		}
	}
	published := map[string]int{}
	for _, service := range project.Services {
		for _, port := range service.Ports {
			published[port.Published]++
		}
	}
	if want := map[string]int{"9000": 1, "9003": 1, "9004": 1}; !maps.Equal(published, want) {
		t.Errorf("published ports are %v, want %v", published, want)
	}
}
