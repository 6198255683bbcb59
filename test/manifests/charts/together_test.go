package charts_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Objects that one chart references by default are created by another.
func TestChartsFitTogether(t *testing.T) {
	const namespace = "team"
	issued := map[string][]string{}
	for _, object := range render(t, certs, namespace, nil) {
		if object.GetKind() != "Certificate" {
			continue
		}
		secret, _ := at(object, "spec/secretName")
		hosts, _ := at(object, "spec/dnsNames")
		for _, host := range hosts.([]any) {
			issued[secret.(string)] = append(issued[secret.(string)], host.(string))
		}
	}
	for key, value := range leaves(defaults(t, setup)) {
		name, isText := value.(string)
		if isSecret := strings.HasSuffix(key, ".secret") || strings.HasSuffix(key, "ValidationSecret"); isSecret && isText && issued[name] == nil {
			t.Errorf("%s is %s, which is the Secret of no Certificate", key, name)
		}
	}
	// The names by which operator and components connect to scheduler and Envoy.
	for secret, hosts := range map[string][]string{
		"seldon-controlplane-server": {"seldon-scheduler", "seldon-scheduler.team", "seldon-scheduler.team.svc", "seldon-scheduler.svc", "localhost"},
		"seldon-controlplane-client": {"seldon-scheduler", "seldon-scheduler.team", "seldon-scheduler.team.svc", "seldon-scheduler.svc", "localhost"},
		"seldon-upstream-server":     {"team", "*.team", "*.team.svc", "localhost"},
		"seldon-upstream-client":     {"team", "*.team", "*.team.svc", "localhost"},
		"seldon-downstream-server":   {"team", "team.svc", "localhost"},
		"seldon-downstream-client":   {"team", "*.team", "*.team.svc", "localhost"},
		"cacert":                     {"*.team", "*.team.svc", "localhost"},
	} {
		if !slices.Equal(issued[secret], hosts) {
			t.Errorf("%s is for %v, not %v", secret, issued[secret], hosts)
		}
	}

	operators, runtimes := render(t, setup, namespace, nil), render(t, dataPlane, namespace, nil)
	secrets, _ := operators.place("config agentConfig/rclone/config_secrets")
	for _, secret := range secrets.([]any) {
		remote, found := runtimes.place("Secret/" + secret.(string) + " data/gs")
		if !found {
			t.Fatalf("the SeldonConfig names Secret %s, which the runtime chart does not have", secret)
		}
		text, err := base64.StdEncoding.DecodeString(remote.(string))
		if err != nil {
			t.Fatal(err)
		}
		content := map[string]any{}
		if err := yaml.UnmarshalStrict(text, &content); err != nil || content["name"] != "gs" {
			t.Errorf("Secret %s: %v: %s", secret, err, text)
		}
	}
	config, _ := runtimes.place("SeldonRuntime/seldon spec/seldonConfig")
	if operators["SeldonConfig/"+config.(string)] == nil {
		t.Errorf("the runtime names SeldonConfig %s, which the setup chart does not have", config)
	}
	components, _ := operators.place("SeldonConfig/default spec/components")
	overrides, _ := render(t, dataPlane, namespace, overridden(t)).place("SeldonRuntime/seldon spec/overrides")
	if len(components.([]any)) != len(overrides.([]any)) {
		t.Errorf("the setup chart has %d components, the runtime chart overrides %d", len(components.([]any)), len(overrides.([]any)))
	}
	for _, override := range overrides.([]any) {
		name := override.(map[string]any)["name"].(string)
		if _, found := operators.place("SeldonConfig/default spec/components/" + name); !found {
			t.Errorf("the runtime chart overrides %s, which the setup chart does not have", name)
		}
	}
	for name, object := range render(t, servers, namespace, nil) {
		config, _ := at(object, "spec/serverConfig")
		if operators["ServerConfig/"+config.(string)] == nil {
			t.Errorf("%s names ServerConfig %s, which the setup chart does not have", name, config)
		}
	}
}

// overridden returns values that override every component of a runtime.
func overridden(t *testing.T) values {
	t.Helper()
	with := values{}
	for key := range leaves(defaults(t, dataPlane)) {
		if component, found := strings.CutSuffix(key, ".disable"); found && !strings.Contains(component, ".") {
			set(with, key, true)
		}
	}
	return with
}
