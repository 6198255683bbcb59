package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Kind of a custom resource that is relayed to the scheduler.
type Kind string

// The relayed kinds. A SeldonRuntime is not relayed; it is woken when its session
// connects or loses its connection.
const (
	Model         Kind = "Model"
	Pipeline      Kind = "Pipeline"
	Experiment    Kind = "Experiment"
	Server        Kind = "Server"
	SeldonRuntime Kind = "SeldonRuntime"
)

// subscriber is the name that the scheduler knows operators by.
const subscriber = "seldon manager"

// relayed is what the three kinds differ in that are loaded one by one.
type relayed struct {
	kind Kind
	// marker by which the scheduler asks for all objects of the kind.
	marker    pb.ControlPlaneResponse_Event
	finalizer string
	// names of the conditions that the scheduler's word sets.
	conditions []string
	// replaces: the scheduler takes another definition at the same generation only
	// after it has taken down the one that it has.
	replaces bool

	newObject func() client.Object
	newList   func() client.ObjectList
	// translate makes the message that is sent, and the digest of its definition.
	translate func(client.Object) (proto.Message, digest, error)
	load      func(context.Context, pb.SchedulerClient, proto.Message) error
	unload    func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, generation int64) error
	// list gives the state of the object of a name, or of all if it is empty.
	list      func(ctx context.Context, from pb.SchedulerClient, name string, each func(word)) error
	subscribe func(ctx context.Context, to pb.SchedulerClient, each func(word)) error
}

// kinds in the order in which they are sent: what is referred to goes first.
var kinds = []*relayed{
	{
		kind:       Model,
		marker:     pb.ControlPlaneResponse_SEND_MODELS,
		finalizer:  v1alpha1.ModelFinalizer,
		conditions: []string{v1alpha1.ConditionModelReady},
		newObject:  func() client.Object { return &v1alpha1.Model{} },
		newList:    func() client.ObjectList { return &v1alpha1.ModelList{} },
		translate:  translation(ModelMessage, modelDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			_, err := to.LoadModel(ctx, &pb.LoadModelRequest{Model: message.(*pb.Model)})
			return err
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, generation int64) error {
			_, err := to.UnloadModel(ctx, &pb.UnloadModelRequest{
				Model:          &pb.ModelReference{Name: key.Name},
				KubernetesMeta: &pb.KubernetesMeta{Namespace: key.Namespace, Generation: generation},
			})
			return err
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, each func(word)) error {
			request := &pb.ModelStatusRequest{SubscriberName: subscriber}
			if name != "" {
				request.Model = &pb.ModelReference{Name: name}
			}
			stream, err := from.ModelStatus(ctx, request)
			return words(stream, err, withDefinition(modelWord, modelDefinition), each)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, each func(word)) error {
			stream, err := to.SubscribeModelStatus(ctx, &pb.ModelSubscriptionRequest{SubscriberName: subscriber})
			return words(stream, err, modelWord, each)
		},
	},
	{
		kind:       Pipeline,
		marker:     pb.ControlPlaneResponse_SEND_PIPELINES,
		finalizer:  v1alpha1.PipelineFinalizer,
		conditions: []string{v1alpha1.ConditionModelsReady, v1alpha1.ConditionPipelineGwReady, v1alpha1.ConditionPipelineReady},
		replaces:   true,
		newObject:  func() client.Object { return &v1alpha1.Pipeline{} },
		newList:    func() client.ObjectList { return &v1alpha1.PipelineList{} },
		translate:  translation(PipelineMessage, pipelineDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			_, err := to.LoadPipeline(ctx, &pb.LoadPipelineRequest{Pipeline: message.(*pb.Pipeline)})
			return err
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, _ int64) error {
			_, err := to.UnloadPipeline(ctx, &pb.UnloadPipelineRequest{Name: key.Name})
			return err
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, each func(word)) error {
			stream, err := from.PipelineStatus(ctx, &pb.PipelineStatusRequest{SubscriberName: subscriber, Name: optional(name)})
			return words(stream, err, withDefinition(pipelineWord, pipelineDefinition), each)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, each func(word)) error {
			stream, err := to.SubscribePipelineStatus(ctx, &pb.PipelineSubscriptionRequest{SubscriberName: subscriber})
			return words(stream, err, pipelineWord, each)
		},
	},
	{
		kind:       Experiment,
		marker:     pb.ControlPlaneResponse_SEND_EXPERIMENTS,
		finalizer:  v1alpha1.ExperimentFinalizer,
		conditions: []string{v1alpha1.ConditionCandidatesReady, v1alpha1.ConditionExperimentReady, v1alpha1.ConditionMirrorReady},
		newObject:  func() client.Object { return &v1alpha1.Experiment{} },
		newList:    func() client.ObjectList { return &v1alpha1.ExperimentList{} },
		translate:  translation(ExperimentMessage, experimentDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			_, err := to.StartExperiment(ctx, &pb.StartExperimentRequest{Experiment: message.(*pb.Experiment)})
			return err
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, _ int64) error {
			_, err := to.StopExperiment(ctx, &pb.StopExperimentRequest{Name: key.Name})
			return err
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, each func(word)) error {
			stream, err := from.ExperimentStatus(ctx, &pb.ExperimentStatusRequest{SubscriberName: subscriber, Name: optional(name)})
			return words(stream, err, experimentWord, each)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, each func(word)) error {
			stream, err := to.SubscribeExperimentStatus(ctx, &pb.ExperimentSubscriptionRequest{SubscriberName: subscriber})
			return words(stream, err, experimentWord, each)
		},
	},
}

// Conditions of a relayed kind that the scheduler's word sets, less Ready.
func (k Kind) Conditions() []string { return k.relayed().conditions }

// Finalizer that keeps an object of a relayed kind until it is unloaded.
func (k Kind) Finalizer() string { return k.relayed().finalizer }

func (k Kind) relayed() *relayed {
	for _, each := range kinds {
		if each.kind == k {
			return each
		}
	}
	panic(fmt.Sprintf("%s is not loaded one by one", k))
}

// translation makes a kind's translate of a function for its Go type.
func translation[O client.Object, M proto.Message](message func(O) (M, error), definition func(M) digest) func(client.Object) (proto.Message, digest, error) {
	return func(object client.Object) (proto.Message, digest, error) {
		translated, err := message(object.(O))
		if err != nil {
			return nil, digest{}, err
		}
		return translated, definition(translated), nil
	}
}

// words reads a stream to its end. An end without an error gives none.
func words[M any](stream grpc.ServerStreamingClient[M], err error, read func(*M) word, each func(word)) error {
	return receive(stream, err, func(message *M) { each(read(message)) })
}

// receive reads a stream to its end. An end without an error gives none.
func receive[M any](stream grpc.ServerStreamingClient[M], err error, each func(*M)) error {
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(message)
	}
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
