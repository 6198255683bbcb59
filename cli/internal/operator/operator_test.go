package operator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/templates"
)

// manager returns the Deployment of config/manager in a namespace.
func manager(t *testing.T, namespace, image string, env ...corev1.EnvVar) *appsv1.Deployment {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict(file, deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Namespace = namespace
	container := &deployment.Spec.Template.Spec.Containers[0]
	container.Image = image
	for _, each := range env {
		for i := range container.Env {
			if container.Env[i].Name == each.Name {
				container.Env[i] = each
			}
		}
	}
	return deployment
}

func value(name, text string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: text} }

func TestParse(t *testing.T) {
	allNamespaces := value("CLUSTERWIDE", "true")
	for name, c := range map[string]struct {
		deployment *appsv1.Deployment
		edit       func(*appsv1.Deployment)
		want       Operator
		problem    string
	}{
		"one namespace": {
			deployment: manager(t, "team-a", "docker.io/seldon-operator/seldon-operator:0.1.0"),
			want:       Operator{Namespace: "team-a", Version: "0.1.0", WatchedNamespaces: []string{"team-a"}},
		},
		"all namespaces": {
			deployment: manager(t, "seldon-system", "registry:5000/seldon-operator:0.2.0-rc.1", allNamespaces, value("USE_DEPLOYMENTS_FOR_SERVERS", "true")),
			want:       Operator{Namespace: "seldon-system", Version: "0.2.0-rc.1", UseDeployments: true},
		},
		"listed namespaces": {
			deployment: manager(t, "seldon-system", "x:1", allNamespaces, value("WATCH_NAMESPACES", "a, b,a")),
			want:       Operator{Namespace: "seldon-system", Version: "1", WatchedNamespaces: []string{"a", "b", "seldon-system"}},
		},
		"a digest": {
			deployment: manager(t, "seldon-system", "registry:5000/operator@sha256:00", allNamespaces),
			edit:       func(d *appsv1.Deployment) { d.Labels[versionLabel] = "0.3.0" },
			want:       Operator{Namespace: "seldon-system", Version: "0.3.0"},
		},
		"the last flag counts": {
			deployment: manager(t, "seldon-system", "x:1", allNamespaces),
			edit: func(d *appsv1.Deployment) {
				args := &d.Spec.Template.Spec.Containers[0].Args
				*args = append(*args, "-max-replicas-per-server", "20", "--clusterwide=0", "-namespace=b", "--use-deployments-for-servers")
			},
			want: Operator{Namespace: "seldon-system", Version: "1", WatchedNamespaces: []string{"b"}, UseDeployments: true, MaxReplicasPerServer: 20},
		},
		"the upstream operator": {
			deployment: manager(t, "seldon-mesh", "docker.io/seldonio/seldonv2-controller:2.9.1"),
			want:       Operator{Namespace: "seldon-mesh", Version: "2.9.1", Upstream: true, WatchedNamespaces: []string{"seldon-mesh"}},
		},
		"a variable from a ConfigMap": {
			deployment: manager(t, "seldon-system", "x:1", allNamespaces, corev1.EnvVar{
				Name: "USE_DEPLOYMENTS_FOR_SERVERS", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "x"}},
			}),
			want:    Operator{Namespace: "seldon-system", Version: "1"},
			problem: "settings of Deployment seldon-system/v2-controller-manager: the value of --use-deployments-for-servers uses $(USE_DEPLOYMENTS_FOR_SERVERS), which has no value in the Deployment; the default is assumed",
		},
		"invalid values": {
			deployment: manager(t, "seldon-system", "x", value("CLUSTERWIDE", "yes")),
			want:       Operator{Namespace: "seldon-system", WatchedNamespaces: []string{"seldon-system"}},
			problem:    "settings of Deployment seldon-system/v2-controller-manager: --clusterwide=yes is not a boolean; false is assumed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if c.edit != nil {
				c.edit(c.deployment)
			}
			c.want.Deployment = client.ObjectKeyFromObject(c.deployment)
			c.want.Image = c.deployment.Spec.Template.Spec.Containers[0].Image
			if c.want.MaxReplicasPerServer == 0 {
				c.want.MaxReplicasPerServer = templates.DefaultMaxReplicas
			}
			got, problems := parse(c.deployment)
			g.Expect(*got).To(Equal(c.want))
			if c.problem == "" {
				g.Expect(problems).To(BeEmpty())
			} else {
				g.Expect(errors.Join(problems...)).To(MatchError(c.problem))
			}
		})
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "$(A)"}
	for text, want := range map[string]string{
		"": "", "x": "x", "$(A)": "1", "a$(A)b$(B)": "a1b$(A)", "$$(A)": "$(A)", "$(A": "$(A", "$A": "$A", "$": "$", "$(C)": "$(C)",
	} {
		got, unknown := expand(text, env)
		if got != want || (len(unknown) > 0) != (text == "$(C)") {
			t.Errorf("expand(%q) = %q, %q, want %q", text, got, unknown, want)
		}
	}
}

func TestFind(t *testing.T) {
	global := manager(t, "seldon-system", "x:1", value("CLUSTERWIDE", "true"))
	listed := manager(t, "platform", "x:2", value("CLUSTERWIDE", "true"), value("WATCH_NAMESPACES", "team-b"))
	own := manager(t, "team-a", "x:3")
	elsewhere := manager(t, "team-c", "x:4", value("POD_NAMESPACE", "team-z"))
	for name, c := range map[string]struct {
		deployments         []client.Object
		forbidden           func(namespace string) bool
		namespace, override string
		// want is the namespace of the operator's Deployment, or empty.
		want, problem string
		lists         int
	}{
		"in the namespace":           {deployments: []client.Object{global, listed, own}, namespace: "team-a", want: "team-a", lists: 1},
		"one that lists it":          {deployments: []client.Object{global, listed, own}, namespace: "team-b", want: "platform", lists: 2},
		"of all namespaces":          {deployments: []client.Object{global, listed, own}, namespace: "team-d", want: "seldon-system", lists: 2},
		"none":                       {deployments: []client.Object{listed, own}, namespace: "team-d", lists: 2},
		"in it but for another":      {deployments: []client.Object{elsewhere, global}, namespace: "team-c", want: "seldon-system", lists: 2},
		"named":                      {deployments: []client.Object{global, own}, namespace: "team-a", override: "seldon-system", want: "seldon-system", lists: 1},
		"without a namespace":        {deployments: []client.Object{global, own}, want: "seldon-system", lists: 1},
		"only its own may be listed": {deployments: []client.Object{own}, forbidden: func(n string) bool { return n != "team-a" }, namespace: "team-a", want: "team-a", lists: 1},
		"a default installation": {
			deployments: []client.Object{global}, forbidden: func(n string) bool { return n == "" }, namespace: "team-a", want: "seldon-system", lists: 4,
			problem: "find the operator: list deployments.apps in all namespaces is forbidden; set --operator-namespace to a namespace in which it is allowed",
		},
		"all is forbidden": {
			deployments: []client.Object{global}, forbidden: func(string) bool { return true }, namespace: "team-a", lists: 4,
			problem: "find the operator: list deployments.apps in all namespaces is forbidden; set --operator-namespace to a namespace in which it is allowed",
		},
		"the named namespace is forbidden": {
			deployments: []client.Object{global}, forbidden: func(string) bool { return true }, namespace: "team-a", override: "x", lists: 1,
			problem: "find the operator: list deployments.apps in namespace x is forbidden; set --operator-namespace to a namespace in which it is allowed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			lists := 0
			reader := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(c.deployments...).WithInterceptorFuncs(interceptor.Funcs{
				List: func(ctx context.Context, next client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					lists++
					applied := client.ListOptions{}
					applied.ApplyOptions(options)
					if c.forbidden != nil && c.forbidden(applied.Namespace) {
						return apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "", errors.New("no"))
					}
					return next.List(ctx, list, options...)
				},
			}).Build()
			found, err := Find(t.Context(), reader, c.namespace, c.override)
			g.Expect(err).NotTo(HaveOccurred())
			namespace := c.namespace
			if namespace == "" {
				namespace = "any"
			}
			got := ""
			if serving := found.Serving(namespace); serving != nil {
				got = serving.Deployment.Namespace
			}
			g.Expect(got).To(Equal(c.want))
			g.Expect(lists).To(Equal(c.lists))
			var problems []string
			for _, problem := range found.Problems {
				problems = append(problems, problem.Error())
			}
			g.Expect(strings.Join(problems, "\n")).To(Equal(c.problem))
		})
	}
}

func TestUnreachable(t *testing.T) {
	reader := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithInterceptorFuncs(interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("connection refused")
		},
	}).Build()
	_, err := Find(t.Context(), reader, "team-a", "")
	NewWithT(t).Expect(err).To(MatchError("find the operator: list deployments.apps: connection refused"))
}
