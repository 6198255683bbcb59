package relay

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"k8s.io/apimachinery/pkg/util/validation"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// statusMessages has the kinds of status messages with a complete example of each.
var statusMessages = []struct {
	kind    Kind
	example string
	new     func() proto.Message
	parse   func(proto.Message) statusEvent
}{
	{
		Model, `modelName: "m" deleted: true keepTopics: true timestamp: 1 operation: ModelCreate versions {
			version: 1 serverName: "mlserver" kubernetesMeta {namespace: "team" generation: 1}
			modelReplicaState {key: 0 value {state: Available reason: "r" lastChangeTimestamp {seconds: 1 nanos: 1}}}
			state {state: ModelAvailable reason: "r" availableReplicas: 1 unavailableReplicas: 1 lastChangeTimestamp {seconds: 1 nanos: 1} modelGwState: ModelAvailable modelGwReason: "r"}
			modelDefn {meta {name: "m"} deploymentSpec {replicas: 1 minReplicas: 1 maxReplicas: 1}}}`,
		func() proto.Message { return &pb.ModelStatusResponse{} },
		func(m proto.Message) statusEvent { return parseModelStatus(m.(*pb.ModelStatusResponse)) },
	},
	{
		Pipeline, `pipelineName: "p" versions {pipeline {name: "p" uid: "u" version: 1 kubernetesMeta {namespace: "team" generation: 1} steps {name: "a" joinWindowMs: 1}}
			state {pipelineVersion: 1 status: PipelineReady reason: "r" lastChangeTimestamp {seconds: 1 nanos: 1} modelsReady: true pipelineGwStatus: PipelineReady pipelineGwReason: "r"}}`,
		func() proto.Message { return &pb.PipelineStatusResponse{} },
		func(m proto.Message) statusEvent { return parsePipelineStatus(m.(*pb.PipelineStatusResponse)) },
	},
	{
		Experiment, `experimentName: "e" active: true candidatesReady: true mirrorReady: true statusDescription: "r" kubernetesMeta {namespace: "team" generation: 1}`,
		func() proto.Message { return &pb.ExperimentStatusResponse{} },
		func(m proto.Message) statusEvent { return parseExperimentStatus(m.(*pb.ExperimentStatusResponse)) },
	},
}

// For any value in any field of a status message, the state is within the bounds that
// [State] documents. Each field of a complete message is set to extremes
// first; fuzzing continues from there.
func FuzzParseStatus(f *testing.F) {
	for i, each := range statusMessages {
		message := each.new()
		if err := prototext.Unmarshal([]byte(each.example), message); err != nil {
			f.Fatal(err)
		}
		seeds := 0
		eachExtreme(message.ProtoReflect(), func(path string) {
			encoded, err := proto.Marshal(message)
			if err != nil || len(each.parse(message).state.Conditions) == 0 {
				f.Fatalf("%s: not parsed, %v", path, err)
			}
			f.Add(i, encoded)
			seeds++
		})
		if seeds < 20 {
			f.Errorf("only %d extremes of %T", seeds, message)
		}
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(statusMessages) {
			return
		}
		message := statusMessages[i].new()
		if proto.Unmarshal(data, message) != nil {
			return // gRPC rejects it as well
		}
		if state := statusMessages[i].parse(message).state; len(state.Conditions) > 0 {
			checkBounds(t, statusMessages[i].kind, &state)
		}
	})
}

var reasonFormat = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)

// checkBounds fails the test if a state is not within the documented bounds.
func checkBounds(t *testing.T, kind Kind, state *State) {
	t.Helper()
	var types []string
	for _, condition := range state.Conditions {
		types = append(types, condition.Type)
		if !reasonFormat.MatchString(condition.Reason) || len(condition.Reason) > 100 || len(condition.Message) > maxText || strings.ContainsFunc(condition.Message, unicode.IsControl) {
			t.Errorf("condition %.2000q", fmt.Sprint(condition))
		}
	}
	if !slices.Equal(types, kind.Conditions()) {
		t.Errorf("conditions %q of a %s", types, kind)
	}
	if (state.Model != nil) != (kind == Model) {
		t.Errorf("a %s has %+v", kind, state.Model)
	}
	if model := state.Model; model != nil {
		for _, replicas := range []int64{model.Replicas, model.AvailableReplicas} {
			if replicas < 0 || replicas > math.MaxInt32 {
				t.Errorf("%d replicas", replicas)
			}
		}
		if problems := validation.IsValidLabelValue(model.Server); len(problems) > 0 {
			t.Errorf("server %.2000q: %q", model.Server, problems)
		}
		if len(model.Gateway) > maxText+100 || strings.ContainsFunc(model.Gateway, unicode.IsControl) {
			t.Errorf("gateway %.2000q", model.Gateway)
		}
	}
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
