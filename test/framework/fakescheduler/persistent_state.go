package fakescheduler

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// persistentState is the content of the volume, as messages in JSON.
type persistentState struct {
	Pipelines   []persistentPipeline
	Experiments []persistentExperiment
}

type persistentPipeline struct {
	Deleted bool
	Status  json.RawMessage
}

type persistentExperiment struct {
	Deleted    bool
	Experiment json.RawMessage
}

// persistent is the state that outlives the instance.
func (s *state) persistent() persistentState {
	var stored persistentState
	for _, p := range s.pipelines {
		stored.Pipelines = append(stored.Pipelines, persistentPipeline{p.deleted, encode(p.message(p.versions...))})
	}
	for _, e := range s.experiments {
		stored.Experiments = append(stored.Experiments, persistentExperiment{e.deleted, encode(e.defn)})
	}
	return stored
}

// restore loads the state of a new instance. Statuses of pipelines are unchanged, except
// for the gateway's reason; experiments are inactive.
func (s *state) restore(stored persistentState) error {
	for _, each := range stored.Pipelines {
		status := &pb.PipelineStatusResponse{}
		if err := protojson.Unmarshal(each.Status, status); err != nil {
			return err
		}
		p := &pipeline{name: status.GetPipelineName(), deleted: each.Deleted}
		for _, v := range status.GetVersions() {
			p.versions = append(p.versions, &pipelineVersion{
				defn:    v.GetPipeline(),
				engine:  workerTask{phase: phaseOf(v.GetState().GetStatus()), reason: v.GetState().GetReason()},
				gateway: workerTask{phase: phaseOf(v.GetState().GetPipelineGwStatus())},
				since:   v.GetState().GetLastChangeTimestamp().AsTime(),
			})
		}
		s.pipelines[p.name] = p
	}
	for _, each := range stored.Experiments {
		e := &experiment{defn: &pb.Experiment{}, deleted: each.Deleted}
		if err := protojson.Unmarshal(each.Experiment, e.defn); err != nil {
			return err
		}
		s.experiments[e.defn.GetName()] = e
	}
	return nil
}

// encode panics on invalid messages, which the network layer rejects.
func encode(message proto.Message) json.RawMessage {
	content, err := protojson.Marshal(message)
	if err != nil {
		panic("fakescheduler: encode a stored message: " + err.Error())
	}
	return content
}

// saveInterval is from a change to the write of the state file, one for all changes
// until then.
const saveInterval = 50 * time.Millisecond

// saveLater writes the state file of an instance soon. The mutex is held.
func (s *Scheduler) saveLater(i *instance) {
	if s.options.StateFile == "" || i.saving {
		return
	}
	i.saving = true
	i.loop.afterFunc(saveInterval, func() {
		i.saving = false
		s.save(i.state.persistent())
	})
}

// save writes the state file, so that readers see all of it or nothing. It panics if
// it cannot: nothing that is demonstrated or tested with the file would be true.
func (s *Scheduler) save(stored persistentState) {
	if s.options.StateFile == "" {
		return
	}
	content, err := json.Marshal(stored)
	if err == nil {
		err = os.WriteFile(s.options.StateFile+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(s.options.StateFile+".new", s.options.StateFile)
	}
	if err != nil {
		panic("fakescheduler: write the state file: " + err.Error())
	}
}

// load reads the state file, if there is one.
func (s *Scheduler) load() (persistentState, error) {
	var stored persistentState
	if s.options.StateFile == "" {
		return stored, nil
	}
	content, err := os.ReadFile(s.options.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return stored, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &stored)
	}
	return stored, err
}
