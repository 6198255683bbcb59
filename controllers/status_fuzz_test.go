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

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// Whatever a scheduler sends in any field of a status message, the API server accepts
// the status that follows from it. Each field of a complete message is set to extremes
// first; fuzzing goes on from there.
func FuzzReportedStatus(f *testing.F) {
	models, pipelines, experiments := newSchema(f, "models"), newSchema(f, "pipelines"), newSchema(f, "experiments")
	for kind, text := range []string{
		`modelName: "m" deleted: true keepTopics: true timestamp: 1 operation: ModelCreate versions {
			version: 1 serverName: "mlserver" kubernetesMeta {namespace: "team" generation: 1}
			modelReplicaState {key: 0 value {state: Available reason: "r" lastChangeTimestamp {seconds: 1 nanos: 1}}}
			state {state: ModelAvailable reason: "r" availableReplicas: 1 unavailableReplicas: 1 lastChangeTimestamp {seconds: 1 nanos: 1} modelGwState: ModelAvailable modelGwReason: "r"}
			modelDefn {meta {name: "m"} deploymentSpec {replicas: 1 minReplicas: 1 maxReplicas: 1}}}`,
		`pipelineName: "p" versions {pipeline {name: "p" uid: "u" version: 1 kubernetesMeta {namespace: "team" generation: 1} steps {name: "a" joinWindowMs: 1}}
			state {pipelineVersion: 1 status: PipelineReady reason: "r" lastChangeTimestamp {seconds: 1 nanos: 1} modelsReady: true pipelineGwStatus: PipelineReady pipelineGwReason: "r"}}`,
		`experimentName: "e" active: true candidatesReady: true mirrorReady: true statusDescription: "r" kubernetesMeta {namespace: "team" generation: 1}`,
	} {
		message := reportedKinds[kind]()
		if err := prototext.Unmarshal([]byte(text), message); err != nil {
			f.Fatal(err)
		}
		seeds := 0
		eachExtreme(message.ProtoReflect(), func(path string) {
			encoded, err := proto.Marshal(message)
			if err != nil || relay.ReadState(message) == nil {
				f.Fatalf("%s: not read, %v", path, err)
			}
			f.Add(kind, encoded)
			seeds++
		})
		if seeds < 20 {
			f.Errorf("only %d extremes of %T", seeds, message)
		}
	}
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		if kind < 0 || kind >= len(reportedKinds) {
			return
		}
		message := reportedKinds[kind]()
		if proto.Unmarshal(data, message) != nil {
			return // gRPC rejects it as well
		}
		state := relay.ReadState(message)
		if state == nil {
			return // it reports nothing
		}
		meta := metav1.ObjectMeta{Namespace: "team", Name: "o", Generation: 1}
		seen := relay.Observation{Session: true, Connected: true, State: state}
		switch kind {
		case 0:
			model := &v1alpha1.Model{ObjectMeta: meta}
			setReported(model, relay.Model, seen)
			setModelStatus(model, state)
			if _, err := labels.Parse(model.Status.Selector); err != nil {
				t.Errorf("selector: %.2000q", err.Error())
			}
			models.accept(t, model)
		case 1:
			pipeline := &v1alpha1.Pipeline{ObjectMeta: meta}
			setReported(pipeline, relay.Pipeline, seen)
			pipelines.accept(t, pipeline)
		case 2:
			experiment := &v1alpha1.Experiment{ObjectMeta: meta}
			setReported(experiment, relay.Experiment, seen)
			experiments.accept(t, experiment)
		}
	})
}

var reportedKinds = []func() proto.Message{
	func() proto.Message { return &pb.ModelStatusResponse{} },
	func() proto.Message { return &pb.PipelineStatusResponse{} },
	func() proto.Message { return &pb.ExperimentStatusResponse{} },
}

// setReported sets the conditions that follow from an observation.
func setReported(object reconciler.Object, kind relay.Kind, seen relay.Observation) {
	update := computeStatus(object, kind, seen, time.Now())
	reconciler.SetConditions(object, append(update.conditions, progressConditions(update.conditions)...), update.keep...)
}

// eachExtreme calls visit with each field of a message in turn at each of its extremes,
// and restores the field. Only fields that are set have extremes.
func eachExtreme(message protoreflect.Message, visit func(path string)) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			value.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
				eachExtreme(value.Message(), visit)
				return true
			})
		case field.IsList():
			for i := range value.List().Len() {
				eachExtreme(value.List().Get(i).Message(), visit)
			}
		case field.Message() != nil:
			eachExtreme(value.Message(), visit)
		default:
			for _, extreme := range extremes(field) {
				message.Set(field, extreme)
				visit(fmt.Sprintf("%s = %v", field.FullName(), extreme))
			}
			message.Set(field, value)
		}
		return true
	})
}

func extremes(field protoreflect.FieldDescriptor) []protoreflect.Value {
	var values []protoreflect.Value
	for _, number := range []int64{0, -1, 2, math.MinInt32, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32, math.MinInt64, math.MaxInt64} {
		switch field.Kind() {
		case protoreflect.BoolKind:
			return []protoreflect.Value{protoreflect.ValueOfBool(false)}
		case protoreflect.EnumKind:
			values = append(values, protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(number))))
		case protoreflect.Int32Kind:
			values = append(values, protoreflect.ValueOfInt32(int32(number)))
		case protoreflect.Int64Kind:
			values = append(values, protoreflect.ValueOfInt64(number))
		case protoreflect.Uint32Kind:
			values = append(values, protoreflect.ValueOfUint32(uint32(number)))
		case protoreflect.Uint64Kind:
			values = append(values, protoreflect.ValueOfUint64(uint64(number)))
		case protoreflect.StringKind:
			for _, text := range []string{"", " ", "100%s %d", "a\x00b\x1b[31m\r\nc\u0085", "-", "ä,=!()", strings.Repeat("x", 5<<10), strings.Repeat("ä€😀", 1<<10)} {
				values = append(values, protoreflect.ValueOfString(text))
			}
			return values
		default:
			panic(fmt.Sprintf("no extremes of %s", field.FullName()))
		}
	}
	return values
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
