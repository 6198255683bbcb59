package composition_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// editor is the field manager of a user who edits a child object.
const editor = "kubectl-edit"

var (
	deployments  = appsv1.SchemeGroupVersion.WithKind("Deployment")
	statefulSets = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	services     = corev1.SchemeGroupVersion.WithKind("Service")
)

// layer adds a layer with an overlay, as YAML, for an object of the instance.
func (i *instance) layer(kind schema.GroupVersionKind, name, content string) {
	GinkgoHelper()
	text, err := yaml.YAMLToJSON([]byte(content))
	Expect(err).NotTo(HaveOccurred())
	decoded := map[string]any{}
	Expect(utiljson.Unmarshal(text, &decoded)).To(Succeed())
	i.request.Input.Layers = append(i.request.Input.Layers, template.Layer{
		Source: "test", Overlays: func() ([]template.Overlay, error) {
			return []template.Overlay{{Path: "spec", Kind: kind, Name: name, Content: decoded}}, nil
		},
	})
}

// conflictCase is a field that is invalid together with a field of another manager or a default
// of the API server.
type conflictCase struct {
	kind schema.GroupVersionKind
	// before and after are the overlays of the object before and after the edit.
	before, after string
	// edit is a JSON patch of a user; empty for none.
	edit string
	// removed and kept are texts that the spec must not and must contain at the end.
	removed, kept string
	// valid means that server-side apply or the API server removes the conflicting field itself.
	valid bool
}

// validatesPodSpec returns whether the API server rejects an invalid pod spec in an object.
func validatesPodSpec(site *instance, object client.Object) bool {
	GinkgoHelper()
	err := admin.Patch(site.ctx, object.DeepCopyObject().(client.Object),
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"template":{"spec":{"dnsPolicy":"Invalid"}}}}`)), client.DryRunAll)
	if err != nil {
		Expect(err).To(Satisfy(apierrors.IsInvalid))
	}
	return err != nil
}

var _ = Describe("Fields that are invalid together with fields of others", func() {
	inPod := func(text string) string {
		return "spec: {template: {spec: {" + text + "}}}"
	}
	container := func(text string) string {
		return inPod("containers: [{name: web, " + text + "}]")
	}

	DescribeTable("removes only the conflicting fields",
		func(c conflictCase) {
			site := newInstance()
			name := "shop"
			if c.kind == statefulSets {
				site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
				name = "depot"
				c.before, c.after = strings.ReplaceAll(c.before, "name: web,", "name: clerk,"), strings.ReplaceAll(c.after, "name: web,", "name: clerk,")
			}
			if c.before != "" {
				site.layer(c.kind, name, c.before)
			}
			site.settle()
			object, err := admin.Scheme().New(c.kind)
			Expect(err).NotTo(HaveOccurred())
			child := object.(client.Object)
			// A field of another manager that is valid together with the desired state.
			site.patch(child, name, `{"metadata":{"annotations":{"example.org/other":"stays"}}}`, client.FieldOwner("bystander"))
			detected := !c.valid
			if c.edit != "" {
				site.get(child, name)
				// Kubernetes 1.30 does not validate the pod spec in a StatefulSet, so that both fields
				// stay.
				detected = detected && (c.kind != statefulSets || !strings.Contains(c.edit, "/spec/template/") || validatesPodSpec(site, child))
				Expect(admin.Patch(site.ctx, child, client.RawPatch(types.JSONPatchType, []byte(c.edit)), client.FieldOwner(editor))).To(Succeed())
			}
			if c.after != "" {
				site.request.Input.Layers = nil
				site.layer(c.kind, name, c.after)
			}
			site.cached()
			generation := generationOf(site, child, name)

			result := site.mustReconcile()
			if detected {
				Expect(result.Removed).To(HaveLen(1))
			} else {
				Expect(result.Removed).To(BeEmpty())
			}
			if c.edit != "" && detected {
				Expect(result.Removed[0].Managers).To(Equal(editor))
			}
			site.get(child, name)
			spec := specOf(child)
			if c.removed != "" && (detected || c.valid) {
				Expect(spec).NotTo(ContainSubstring(c.removed))
			}
			Expect(spec).To(ContainSubstring(c.kept))
			Expect(child.GetAnnotations()).To(HaveKeyWithValue("example.org/other", "stays"))
			Expect(child.GetGeneration()-generation).To(BeNumerically("<=", 1), "more than one change of the spec")
			site.cached()
			site.settle()
			Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
		},
		Entry("env: value edited to valueFrom", conflictCase{
			kind: deployments, before: container(`env: [{name: A, value: a}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1","value":{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}}]`,
			removed: "fieldRef", kept: `{"name":"A","value":"a"}`}),
		Entry("env: valueFrom edited to value", conflictCase{
			kind: deployments, before: container(`env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1","value":{"name":"A","value":"other"}}]`,
			removed: "other", kept: `"fieldPath":"metadata.name"`}),
		Entry("env: another source", conflictCase{
			kind: deployments, before: container(`env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1/valueFrom","value":{"configMapKeyRef":{"name":"x","key":"y"}}}]`,
			removed: "configMapKeyRef", kept: `"fieldPath":"metadata.name"`}),
		Entry("env: one of two variables of a StatefulSet", conflictCase{
			kind: statefulSets, before: container(`env: [{name: A, value: a}, {name: B, value: b}]`),
			edit: `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1","value":{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}},
				{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"OTHER","valueFrom":{"fieldRef":{"fieldPath":"metadata.uid"}}}}]`,
			removed: `"fieldPath":"metadata.name"`, kept: `"fieldPath":"metadata.uid"`}),
		Entry("volume: another source", conflictCase{
			kind: deployments, before: inPod(`volumes: [{name: v, emptyDir: {}}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/volumes/1","value":{"name":"v","hostPath":{"path":"/x"}}}]`,
			removed: "hostPath", kept: `"emptyDir":{}`}),
		Entry("volume: another source that is checked first", conflictCase{
			kind: deployments, before: inPod(`volumes: [{name: v, secret: {secretName: s}}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/volumes/1","value":{"name":"v","emptyDir":{}}}]`,
			removed: "emptyDir", kept: `"secretName":"s"`}),
		Entry("volume: mounted by another manager and no longer desired", conflictCase{
			kind: deployments, before: inPod(`volumes: [{name: v, emptyDir: {}}]`),
			edit:  `[{"op":"add","path":"/spec/template/spec/containers/0/volumeMounts/-","value":{"name":"v","mountPath":"/other"}}]`,
			after: container(`env: [{name: A, value: a}]`), removed: "/other", kept: `"value":"a"`}),
		Entry("probe: another handler", conflictCase{
			kind: deployments, before: container(`livenessProbe: {httpGet: {path: /, port: 80}}`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/livenessProbe","value":{"tcpSocket":{"port":80}}}]`,
			removed: "tcpSocket", kept: `"httpGet"`}),
		Entry("lifecycle: another handler", conflictCase{
			kind: deployments, before: container(`lifecycle: {preStop: {exec: {command: [a]}}}`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/lifecycle/preStop","value":{"httpGet":{"port":80}}}]`,
			removed: "httpGet", kept: `"exec"`}),
		Entry("resources: another manager's limit below the desired request", conflictCase{
			kind: deployments, before: container(`resources: {requests: {cpu: 100m}}`),
			edit:  `[{"op":"add","path":"/spec/template/spec/containers/0/resources/limits","value":{"cpu":"200m"}}]`,
			after: container(`resources: {requests: {cpu: 300m}}`), removed: "200m", kept: `"cpu":"300m"`}),
		Entry("resources: another manager's request above the desired limit", conflictCase{
			kind: deployments, before: container(`resources: {limits: {cpu: 500m}, requests: {memory: 1Mi}}`),
			edit:  `[{"op":"add","path":"/spec/template/spec/containers/0/resources/requests/cpu","value":"400m"}]`,
			after: container(`resources: {limits: {cpu: 300m}}`), removed: "400m", kept: `"cpu":"300m"`}),
		Entry("ports of a container: the desired name with another number", conflictCase{
			kind: deployments, before: container(`ports: [{name: x, containerPort: 81}]`),
			edit:    `[{"op":"replace","path":"/spec/template/spec/containers/0/ports/1/containerPort","value":82}]`,
			removed: "82", kept: `"containerPort":81`}),
		Entry("ports of a Service: another number", conflictCase{
			kind: services, edit: `[{"op":"replace","path":"/spec/ports/0/port","value":8080}]`, removed: "8080", kept: `"port":80`}),
		Entry("ports of a Service of type NodePort: another number", conflictCase{
			kind: services, before: "spec: {type: NodePort}",
			edit: `[{"op":"replace","path":"/spec/ports/0/port","value":8080}]`, removed: "8080", kept: `"port":80`}),
		Entry("type of a Service: another manager's source ranges", conflictCase{
			kind: services, before: "spec: {type: LoadBalancer}", after: "spec: {type: ClusterIP}",
			edit: `[{"op":"add","path":"/spec/loadBalancerSourceRanges","value":["10.0.0.0/8"]}]`, removed: "10.0.0.0", kept: `"type":"ClusterIP"`}),
		Entry("type of a Service: another manager's source ranges with NodePort", conflictCase{
			kind: services, before: "spec: {type: LoadBalancer}", after: "spec: {type: NodePort}",
			edit: `[{"op":"add","path":"/spec/loadBalancerSourceRanges","value":["10.0.0.0/8"]}]`, removed: "10.0.0.0", kept: `"type":"NodePort"`}),
		Entry("type of a Service: another manager's traffic policy", conflictCase{
			kind: services, before: "spec: {type: LoadBalancer}", after: "spec: {type: ClusterIP}",
			edit: `[{"op":"replace","path":"/spec/externalTrafficPolicy","value":"Local"}]`, removed: "externalTrafficPolicy", kept: `"type":"ClusterIP"`, valid: true}),
		Entry("strategy of a Deployment: defaulted parameters", conflictCase{
			kind: deployments, after: "spec: {strategy: {type: Recreate}}", removed: "rollingUpdate", kept: `"type":"Recreate"`}),
		Entry("strategy of a Deployment: another manager's parameters", conflictCase{
			kind: deployments, after: "spec: {strategy: {type: Recreate}}",
			edit: `[{"op":"replace","path":"/spec/strategy/rollingUpdate","value":{"maxSurge":3,"maxUnavailable":1}}]`, removed: "rollingUpdate", kept: `"type":"Recreate"`}),
		Entry("strategy of a StatefulSet: another manager's parameters", conflictCase{
			kind: statefulSets, after: "spec: {updateStrategy: {type: OnDelete}}",
			edit: `[{"op":"replace","path":"/spec/updateStrategy/rollingUpdate","value":{"partition":1}}]`, removed: "rollingUpdate", kept: `"type":"OnDelete"`}),
		Entry("host network: another manager's host ports", conflictCase{
			kind: deployments, before: container(`ports: [{name: x, containerPort: 81}]`),
			edit:  `[{"op":"add","path":"/spec/template/spec/containers/0/ports/1/hostPort","value":82}]`,
			after: inPod(`hostNetwork: true, containers: [{name: web, ports: [{name: x, containerPort: 81}]}]`), removed: `"hostPort":82`, kept: `"hostNetwork":true`}),
		Entry("topology: another manager's minimum of domains", conflictCase{
			kind:    deployments,
			before:  inPod(`topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1}]`),
			edit:    `[{"op":"add","path":"/spec/template/spec/topologySpreadConstraints/0/minDomains","value":2}]`,
			after:   inPod(`topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1}]`),
			removed: "minDomains", kept: "ScheduleAnyway", valid: true}),
		Entry("topology: another whenUnsatisfiable for the same key", conflictCase{
			kind:   deployments,
			before: inPod(`topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1}]`),
			edit:   `[{"op":"replace","path":"/spec/template/spec/topologySpreadConstraints/0/whenUnsatisfiable","value":"ScheduleAnyway"}]`,
			kept:   "DoNotSchedule", valid: true}),
		Entry("claims: immutable, and not a conflict", conflictCase{
			kind: statefulSets, after: "spec: {replicas: 2}",
			edit: `[{"op":"replace","path":"/spec/replicas","value":3}]`, kept: `"replicas":2`, valid: true}),
	)

	It("removes nothing if the desired state is invalid by itself, and searches once", func() {
		site := newInstance()
		site.settle()
		site.patch(&appsv1.Deployment{}, "shop", `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}`, client.FieldOwner(editor))
		site.layer(deployments, "shop", container(`livenessProbe: {httpGet: {path: /, port: 80}, periodSeconds: -1}`))
		site.cached()
		// Without those of the controller, which may write its status meanwhile.
		managedFields := func() []metav1.ManagedFieldsEntry {
			return slices.DeleteFunc(site.deployment().ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return entry.Subresource != "" })
		}
		managed := managedFields()
		var err error
		sent := requests.during(func() { _, err = site.reconcile() })
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		Expect(len(sent)).To(BeNumerically("<=", 10), "%v", sent)
		Expect(writes(sent)).To(HaveExactElements(HavePrefix("PATCH ")), "only the apply")
		Expect(managedFields()).To(Equal(managed))

		Expect(requests.during(func() { _, err = site.reconcile() })).To(HaveLen(1))
		Expect(err).To(HaveOccurred())
	})

	It("removes fields that are set again at most once a minute, and reports that without flapping", func() {
		site := newInstance()
		now := time.Now()
		site.engine.Clock = func() time.Time { return now }
		site.layer(deployments, "shop", container(`env: [{name: A, value: a}]`))
		site.settle()
		edit := func() {
			GinkgoHelper()
			patch := `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1","value":{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}}]`
			Expect(admin.Patch(site.ctx, site.deployment(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.FieldOwner(editor))).To(Succeed())
			site.cached()
		}
		conflict := And(HaveField("Reason", plan.FieldManagerConflict), HaveField("Message", fmt.Sprintf(
			"Deployment %s/shop: %s (set by %s) is set repeatedly, the desired state is invalid together with it, and it is removed at most once a minute until that stops",
			site.owner.Namespace, `spec.template.spec.containers[name="web"].env[name="A"].valueFrom.fieldRef`, editor)))
		for round := range 3 {
			edit()
			result := site.mustReconcile()
			Expect(result.Removed).To(HaveLen(1), "round %d", round)
			if round < 2 {
				Expect(result.Blocked()).To(BeEmpty())
			} else {
				Expect(result.Blocked()).To(HaveExactElements(conflict))
			}
		}
		removals := 0
		for range 120 {
			now = now.Add(2 * time.Second)
			if site.deployment().Spec.Template.Spec.Containers[0].Env[1].ValueFrom == nil {
				edit()
			}
			var result composition.Result
			sent := requests.during(func() { result = site.mustReconcile() })
			Expect(result.Blocked()).To(ContainElement(conflict))
			if len(result.Removed) > 0 {
				removals++
			} else {
				Expect(sent).To(BeEmpty(), "waiting sends no request")
			}
			Expect(result.RequeueAfter).To(BeNumerically(">", 0))
		}
		Expect(removals).To(BeNumerically("<=", 4))
		Expect(removals).To(BeNumerically(">=", 3))

		By("ending when the field has not been set for a while")
		now = now.Add(6 * time.Minute)
		if site.deployment().Spec.Template.Spec.Containers[0].Env[1].ValueFrom == nil {
			edit()
		}
		Expect(site.mustReconcile().Removed).To(HaveLen(1))
		now = now.Add(6 * time.Minute)
		site.cached()
		Expect(site.mustReconcile().Blocked()).To(BeEmpty())
	})
})

func generationOf(i *instance, object client.Object, name string) int64 {
	GinkgoHelper()
	i.get(object, name)
	return object.GetGeneration()
}

// specOf returns the spec of an object as JSON.
func specOf(object client.Object) string {
	GinkgoHelper()
	text, err := json.Marshal(object)
	Expect(err).NotTo(HaveOccurred())
	var content struct{ Spec json.RawMessage }
	Expect(json.Unmarshal(text, &content)).To(Succeed())
	return string(content.Spec)
}
