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

// Kind of a custom resource.
type Kind string

// The kinds that the relay enqueues. Models, Pipelines and Experiments are loaded one by
// one, Servers are part of notifications, and a SeldonRuntime is enqueued when the status
// of its session changes.
const (
	Model         Kind = "Model"
	Pipeline      Kind = "Pipeline"
	Experiment    Kind = "Experiment"
	Server        Kind = "Server"
	SeldonRuntime Kind = "SeldonRuntime"
)

// syncedKinds are the kinds that are synchronized with the scheduler, Servers first.
var syncedKinds = []Kind{Server, Model, Pipeline, Experiment}

// subscriber is the name by which the scheduler identifies operators.
const subscriber = "seldon manager"

// resource has what differs between the kinds that are loaded one by one.
type resource struct {
	kind Kind
	// controlPlaneEvent by which the scheduler requests all objects of the kind.
	controlPlaneEvent pb.ControlPlaneResponse_Event
	finalizer         string
	// conditions are the types of the conditions that the scheduler's reports set.
	conditions []string
	// replaces: the scheduler accepts another definition of the same generation only
	// after it has unloaded the one that it has.
	replaces bool

	newObject func() client.Object
	newList   func() client.ObjectList
	// translate returns the message to send, and the digest of its definition.
	translate func(client.Object) (proto.Message, digest, error)
	load      func(context.Context, pb.SchedulerClient, proto.Message) error
	unload    func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, generation int64) error
	// list visits the status of one object, or of all if the name is empty.
	list      func(ctx context.Context, from pb.SchedulerClient, name string, visit func(statusEvent)) error
	subscribe func(ctx context.Context, to pb.SchedulerClient, visit func(statusEvent)) error
}

// resources in the order in which they are sent: Models are referred to by the others.
var resources = []*resource{
	{
		kind:              Model,
		controlPlaneEvent: pb.ControlPlaneResponse_SEND_MODELS,
		finalizer:         v1alpha1.ModelFinalizer,
		conditions:        []string{v1alpha1.ConditionModelReady},
		newObject:         func() client.Object { return &v1alpha1.Model{} },
		newList:           func() client.ObjectList { return &v1alpha1.ModelList{} },
		translate:         translation(ModelMessage, modelDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			return errorOf(to.LoadModel(ctx, &pb.LoadModelRequest{Model: message.(*pb.Model)}))
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, generation int64) error {
			return errorOf(to.UnloadModel(ctx, &pb.UnloadModelRequest{
				Model:          &pb.ModelReference{Name: key.Name},
				KubernetesMeta: &pb.KubernetesMeta{Namespace: key.Namespace, Generation: generation},
			}))
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, visit func(statusEvent)) error {
			request := &pb.ModelStatusRequest{SubscriberName: subscriber}
			if name != "" {
				request.Model = &pb.ModelReference{Name: name}
			}
			stream, err := from.ModelStatus(ctx, request)
			return readEvents(stream, err, withDefinition(parseModelStatus, modelDefinition), visit)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, visit func(statusEvent)) error {
			stream, err := to.SubscribeModelStatus(ctx, &pb.ModelSubscriptionRequest{SubscriberName: subscriber})
			return readEvents(stream, err, parseModelStatus, visit)
		},
	},
	{
		kind:              Pipeline,
		controlPlaneEvent: pb.ControlPlaneResponse_SEND_PIPELINES,
		finalizer:         v1alpha1.PipelineFinalizer,
		conditions:        []string{v1alpha1.ConditionModelsReady, v1alpha1.ConditionPipelineGwReady, v1alpha1.ConditionPipelineReady},
		replaces:          true,
		newObject:         func() client.Object { return &v1alpha1.Pipeline{} },
		newList:           func() client.ObjectList { return &v1alpha1.PipelineList{} },
		translate:         translation(PipelineMessage, pipelineDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			return errorOf(to.LoadPipeline(ctx, &pb.LoadPipelineRequest{Pipeline: message.(*pb.Pipeline)}))
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, _ int64) error {
			return errorOf(to.UnloadPipeline(ctx, &pb.UnloadPipelineRequest{Name: key.Name}))
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, visit func(statusEvent)) error {
			stream, err := from.PipelineStatus(ctx, &pb.PipelineStatusRequest{SubscriberName: subscriber, Name: optional(name)})
			return readEvents(stream, err, withDefinition(parsePipelineStatus, pipelineDefinition), visit)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, visit func(statusEvent)) error {
			stream, err := to.SubscribePipelineStatus(ctx, &pb.PipelineSubscriptionRequest{SubscriberName: subscriber})
			return readEvents(stream, err, parsePipelineStatus, visit)
		},
	},
	{
		kind:              Experiment,
		controlPlaneEvent: pb.ControlPlaneResponse_SEND_EXPERIMENTS,
		finalizer:         v1alpha1.ExperimentFinalizer,
		conditions:        []string{v1alpha1.ConditionCandidatesReady, v1alpha1.ConditionExperimentReady, v1alpha1.ConditionMirrorReady},
		newObject:         func() client.Object { return &v1alpha1.Experiment{} },
		newList:           func() client.ObjectList { return &v1alpha1.ExperimentList{} },
		translate:         translation(ExperimentMessage, experimentDigest),
		load: func(ctx context.Context, to pb.SchedulerClient, message proto.Message) error {
			return errorOf(to.StartExperiment(ctx, &pb.StartExperimentRequest{Experiment: message.(*pb.Experiment)}))
		},
		unload: func(ctx context.Context, to pb.SchedulerClient, key client.ObjectKey, _ int64) error {
			return errorOf(to.StopExperiment(ctx, &pb.StopExperimentRequest{Name: key.Name}))
		},
		list: func(ctx context.Context, from pb.SchedulerClient, name string, visit func(statusEvent)) error {
			stream, err := from.ExperimentStatus(ctx, &pb.ExperimentStatusRequest{SubscriberName: subscriber, Name: optional(name)})
			return readEvents(stream, err, parseExperimentStatus, visit)
		},
		subscribe: func(ctx context.Context, to pb.SchedulerClient, visit func(statusEvent)) error {
			stream, err := to.SubscribeExperimentStatus(ctx, &pb.ExperimentSubscriptionRequest{SubscriberName: subscriber})
			return readEvents(stream, err, parseExperimentStatus, visit)
		},
	},
}

// Conditions returns the types of the conditions of a Model, Pipeline or Experiment that
// the scheduler's reports set, without Ready.
func (k Kind) Conditions() []string { return k.resource().conditions }

// Finalizer returns the finalizer of a Model, Pipeline or Experiment, which is removed
// when the object is unloaded.
func (k Kind) Finalizer() string { return k.resource().finalizer }

// resource of a Model, Pipeline or Experiment.
func (k Kind) resource() *resource {
	for _, each := range resources {
		if each.kind == k {
			return each
		}
	}
	panic(fmt.Sprintf("%s is not loaded one by one", k))
}

// translation returns the translate function of a kind.
func translation[O client.Object, M proto.Message](message func(O) (M, error), definition func(M) digest) func(client.Object) (proto.Message, digest, error) {
	return func(object client.Object) (proto.Message, digest, error) {
		translated, err := message(object.(O))
		if err != nil {
			return nil, digest{}, err
		}
		return translated, definition(translated), nil
	}
}

// readEvents parses the messages of a stream until it ends.
func readEvents[M any](stream grpc.ServerStreamingClient[M], err error, parse func(*M) statusEvent, visit func(statusEvent)) error {
	return receive(stream, err, func(message *M) { visit(parse(message)) })
}

// receive visits the messages of a stream until it ends. err is the error of opening it.
// An end without an error returns none.
func receive[M any](stream grpc.ServerStreamingClient[M], err error, visit func(*M)) error {
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
		visit(message)
	}
}

// errorOf returns the error of a call whose response has no content.
func errorOf[M any](_ *M, err error) error { return err }

// optional returns nil for an empty text.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
