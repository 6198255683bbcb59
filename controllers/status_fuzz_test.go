package controllers

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// For every state within the bounds that relay.State documents, and so for whatever a
// scheduler sends (FuzzParseStatus of the relay), the API server accepts the resulting
// status.
func FuzzReportedStatus(f *testing.F) {
	models, pipelines, experiments := newSchema(f, "models"), newSchema(f, "pipelines"), newSchema(f, "experiments")
	for _, generation := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
		f.Add("ModelAvailable", "text", "mlserver", generation, uint32(1), uint32(1), true)
	}
	for _, replicas := range []uint32{0, 1, math.MaxInt32} {
		f.Add("State4294967295", "", "", int64(1), replicas, uint32(math.MaxInt32), false)
	}
	for _, text := range []string{"", "100%s %d", "-", "ä,=!()", strings.Repeat("x", 1<<10), strings.Repeat("ä€😀", 113)} {
		f.Add("ModelFailed", text, strings.Repeat("x", 63), int64(1), uint32(2), uint32(1), false)
	}
	f.Fuzz(func(t *testing.T, reason, text, server string, generation int64, replicas, available uint32, isTrue bool) {
		if !regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,99}$`).MatchString(reason) || len(text) > 1<<10 || !utf8.ValidString(text) ||
			strings.ContainsFunc(text, unicode.IsControl) || len(validation.IsValidLabelValue(server)) > 0 {
			return // out of bounds
		}
		model := &relay.ModelState{
			Replicas: int64(replicas & math.MaxInt32), AvailableReplicas: int64(available & math.MaxInt32), Server: server, Gateway: reason + "(" + text + ")",
		}
		observe := func(kind relay.Kind) relay.Observation {
			state := &relay.State{Generation: generation, Model: model}
			for _, conditionType := range kind.Conditions() {
				state.Conditions = append(state.Conditions, relay.Condition{Type: conditionType, True: isTrue, Reason: reason, Message: text})
			}
			return relay.Observation{Session: true, Connected: true, State: state}
		}
		meta := metav1.ObjectMeta{Namespace: "team", Name: "o", Generation: 1}
		object := &v1alpha1.Model{ObjectMeta: meta}
		seen := observe(relay.Model)
		setReported(object, relay.Model, seen)
		setModelStatus(object, seen.State)
		if _, err := labels.Parse(object.Status.Selector); err != nil {
			t.Errorf("selector: %.2000q", err.Error())
		}
		models.accept(t, object)
		pipeline := &v1alpha1.Pipeline{ObjectMeta: meta}
		setReported(pipeline, relay.Pipeline, observe(relay.Pipeline))
		pipelines.accept(t, pipeline)
		experiment := &v1alpha1.Experiment{ObjectMeta: meta}
		setReported(experiment, relay.Experiment, observe(relay.Experiment))
		experiments.accept(t, experiment)
	})
}

// setReported sets the conditions that follow from an observation.
func setReported(object reconciler.Object, kind relay.Kind, seen relay.Observation) {
	update := computeStatus(object, kind, seen, time.Now())
	reconciler.SetConditions(object, append(update.conditions, progressConditions(update.conditions)...), update.keep...)
}

// crdSchema validates objects as the API server does, by a CRD of config/crd.
type crdSchema struct {
	validator *validate.SchemaValidator
	scale     *apiextensionsv1.CustomResourceSubresourceScale
}

func newSchema(f *testing.F, plural string) crdSchema {
	f.Helper()
	content, err := os.ReadFile(filepath.Join("..", "config", "crd", "bases", "mlops.seldon.io_"+plural+".yaml"))
	if err != nil {
		f.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		f.Fatal(err)
	}
	version := crd.Spec.Versions[0]
	status := version.Schema.OpenAPIV3Schema.Properties["status"]
	encoded, err := json.Marshal(status)
	if err != nil {
		f.Fatal(err)
	}
	openAPI := &spec.Schema{}
	if err := json.Unmarshal(encoded, openAPI); err != nil {
		f.Fatal(err)
	}
	return crdSchema{validate.NewSchemaValidator(openAPI, nil, "status", strfmt.Default), version.Subresources.Scale}
}

var reasonFormat = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

// accept fails the test if the API server would reject the status of object.
func (s crdSchema) accept(t *testing.T, object reconciler.Object) {
	t.Helper()
	patch, err := reconciler.StatusPatch(object)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{}
	if err := json.Unmarshal(patch, &content); err != nil {
		t.Fatal(err)
	}
	status := content["status"].(map[string]any)
	for name, value := range status {
		if value == nil {
			delete(status, name) // as a merge patch does
		}
	}
	for _, err := range s.validator.Validate(status).Errors {
		t.Errorf("%.2000q", err.Error())
	}
	if s.scale != nil {
		// validation of customresources, ValidateScaleStatus in k8s.io/apiextensions-apiserver
		path := strings.Split(strings.TrimPrefix(s.scale.StatusReplicasPath, "."), ".")
		if replicas, found, err := unstructured.NestedFloat64(content, path...); !found || err != nil || replicas < 0 || replicas > math.MaxInt32 {
			t.Errorf("%s: %v, %v", s.scale.StatusReplicasPath, replicas, err)
		}
	}
	if len(patch) > 8<<10 {
		t.Errorf("the status has %d bytes", len(patch))
	}
	for _, condition := range object.GetConditions() {
		if !reasonFormat.MatchString(condition.Reason) || len(condition.Reason) > 1024 || len(condition.Message) > 4<<10 || strings.ContainsFunc(condition.Message, unicode.IsControl) {
			t.Errorf("condition %.2000q", fmt.Sprint(condition))
		}
	}
}
