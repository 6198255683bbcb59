package inputs

import (
	"testing"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func TestRolloutHash(t *testing.T) {
	hash := func(change func(*v1alpha1.SeldonRuntimeSpec)) string {
		t.Helper()
		spec := v1alpha1.SeldonRuntimeSpec{
			SeldonConfig: "default", Overrides: []v1alpha1.OverrideSpec{{Name: "seldon-envoy"}},
			Servers: []v1alpha1.RuntimeServer{{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}},
		}
		change(&spec)
		result, err := rolloutHash(spec)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	unchanged := hash(func(*v1alpha1.SeldonRuntimeSpec) {})
	for name, change := range map[string]func(*v1alpha1.SeldonRuntimeSpec){
		"replicas of a component": func(s *v1alpha1.SeldonRuntimeSpec) { s.Overrides[0].Replicas = new(int64(3)) },
		"replicas of a Server":    func(s *v1alpha1.SeldonRuntimeSpec) { s.Servers[0].Replicas = new(int64(3)) },
		"bounds of a Server": func(s *v1alpha1.SeldonRuntimeSpec) {
			s.Servers[0].MinReplicas, s.Servers[0].MaxReplicas = new(int64(1)), new(int64(3))
		},
		"deletionPolicy":    func(s *v1alpha1.SeldonRuntimeSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyBlock },
		"disableAutoUpdate": func(s *v1alpha1.SeldonRuntimeSpec) { s.DisableAutoUpdate = true },
	} {
		if hash(change) != unchanged {
			t.Errorf("%s causes a rollout", name)
		}
	}
	for name, change := range map[string]func(*v1alpha1.SeldonRuntimeSpec){
		"another SeldonConfig": func(s *v1alpha1.SeldonRuntimeSpec) { s.SeldonConfig = "other" },
		"a patch":              func(s *v1alpha1.SeldonRuntimeSpec) { s.Patches = []v1alpha1.Patch{{Patch: "spec: {paused: true}"}} },
		"a disabled component": func(s *v1alpha1.SeldonRuntimeSpec) { s.Overrides[0].Disable = true },
	} {
		if hash(change) == unchanged {
			t.Errorf("%s causes no rollout", name)
		}
	}
}
