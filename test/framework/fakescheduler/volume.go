package fakescheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// volume is what outlives a run of the scheduler.
type volume struct {
	pipelines   []storedPipeline
	experiments []storedExperiment
}

type storedPipeline struct {
	versions []*pb.PipelineWithState
	deleted  bool
}

type storedExperiment struct {
	defn    *pb.Experiment
	deleted bool
}

// volume is what is stored now.
func (w *world) volume() volume {
	var stored volume
	for _, p := range w.pipelines {
		stored.pipelines = append(stored.pipelines, storedPipeline{versions: p.message(p.versions...).GetVersions(), deleted: p.deleted})
	}
	for _, e := range w.experiments {
		stored.experiments = append(stored.experiments, storedExperiment{defn: e.defn, deleted: e.deleted})
	}
	return stored
}

// restore is what a new run finds. States of pipelines stay as they were, but for
// the gateway's reason; experiments are inactive.
func (w *world) restore(stored volume) {
	for _, sp := range stored.pipelines {
		p := &pipeline{name: sp.versions[0].GetPipeline().GetName(), deleted: sp.deleted}
		w.pipelines[p.name] = p
		for _, sv := range sp.versions {
			v := &pipelineVersion{
				defn:    sv.GetPipeline(),
				engine:  duty{phase: phaseOf(sv.GetState().GetStatus()), reason: sv.GetState().GetReason()},
				gateway: duty{phase: phaseOf(sv.GetState().GetPipelineGwStatus())},
				since:   sv.GetState().GetLastChangeTimestamp().AsTime(),
			}
			p.versions = append(p.versions, v)
			w.refer(p, v)
		}
		if p.deleted {
			w.forgetLater(p)
		}
	}
	for _, se := range stored.experiments {
		e := &experiment{defn: se.defn, deleted: se.deleted}
		w.addExperiment(e)
		if e.deleted {
			w.loop.alarm(w.options.DeletedTTL, func() { w.expireExperiment(e) })
		}
	}
}

// saveInterval is between a change and the state file, so that many changes are one
// write.
const saveInterval = 50 * time.Millisecond

// touched has the state file written soon. The mutex is held.
func (s *Scheduler) touched(w *world) {
	if s.options.StateFile == "" || s.saving {
		return
	}
	s.saving = true
	w.loop.alarm(saveInterval, func() {
		s.saving = false
		s.stored = w.volume()
		s.writeState()
	})
}

// stateFile is the state file's layout.
type stateFile struct {
	Pipelines   []pipelineEntry   `json:"pipelines,omitempty"`
	Experiments []experimentEntry `json:"experiments,omitempty"`
	Agents      []agentEntry      `json:"agents,omitempty"`
}

type pipelineEntry struct {
	Versions []encoded `json:"versions"`
	Deleted  bool      `json:"deleted,omitempty"`
}

type experimentEntry struct {
	Experiment encoded `json:"experiment"`
	Deleted    bool    `json:"deleted,omitempty"`
}

type agentEntry struct {
	Server       string        `json:"server"`
	Replica      int           `json:"replica"`
	Dedicated    bool          `json:"dedicated,omitempty"`
	Capabilities []string      `json:"capabilities,omitempty"`
	Memory       uint64        `json:"memory,omitempty"`
	Loaded       []loadedEntry `json:"loaded,omitempty"`
}

type loadedEntry struct {
	Version uint32  `json:"version"`
	Model   encoded `json:"model"`
}

// encoded is a message as JSON.
type encoded = json.RawMessage

// writeState writes the state file, in one step as seen by readers.
func (s *Scheduler) writeState() {
	if s.options.StateFile == "" {
		return
	}
	file := stateFile{}
	for _, sp := range s.stored.pipelines {
		entry := pipelineEntry{Deleted: sp.deleted}
		for _, v := range sp.versions {
			entry.Versions = append(entry.Versions, encode(v))
		}
		file.Pipelines = append(file.Pipelines, entry)
	}
	for _, se := range s.stored.experiments {
		file.Experiments = append(file.Experiments, experimentEntry{Experiment: encode(se.defn), Deleted: se.deleted})
	}
	for _, a := range s.fleet.sorted() {
		if !a.here {
			continue
		}
		entry := agentEntry{
			Server: a.Server, Replica: a.Replica, Dedicated: a.Dedicated, Capabilities: a.Capabilities, Memory: a.Memory,
		}
		for _, l := range a.report() {
			entry.Loaded = append(entry.Loaded, loadedEntry{Version: l.Version, Model: encode(l.Model)})
		}
		file.Agents = append(file.Agents, entry)
	}
	content, err := json.Marshal(file)
	if err == nil {
		err = replaceFile(s.options.StateFile, content)
	}
	if err != nil && s.options.OnError != nil {
		s.options.OnError(fmt.Errorf("write state file: %w", err))
	}
}

// replaceFile writes a file beside another and then takes its place.
func replaceFile(name string, content []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// readState reads the state file, if there is one.
func (s *Scheduler) readState() error {
	if s.options.StateFile == "" {
		return nil
	}
	content, err := os.ReadFile(s.options.StateFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file := stateFile{}
	if err := json.Unmarshal(content, &file); err != nil {
		return err
	}
	for _, entry := range file.Pipelines {
		sp := storedPipeline{deleted: entry.Deleted}
		for _, content := range entry.Versions {
			v, err := decode(content, &pb.PipelineWithState{})
			if err != nil {
				return err
			}
			sp.versions = append(sp.versions, v)
		}
		s.stored.pipelines = append(s.stored.pipelines, sp)
	}
	for _, entry := range file.Experiments {
		defn, err := decode(entry.Experiment, &pb.Experiment{})
		if err != nil {
			return err
		}
		s.stored.experiments = append(s.stored.experiments, storedExperiment{defn: defn, deleted: entry.Deleted})
	}
	for _, entry := range file.Agents {
		a := Agent{
			Server: entry.Server, Replica: entry.Replica, Dedicated: entry.Dedicated,
			Capabilities: entry.Capabilities, Memory: entry.Memory,
		}
		for _, l := range entry.Loaded {
			defn, err := decode(l.Model, &pb.Model{})
			if err != nil {
				return err
			}
			a.Loaded = append(a.Loaded, LoadedModel{Model: defn, Version: l.Version})
		}
		s.fleet.join(a)
		if s.options.Agents == AgentsAutomatic {
			s.fleet.targets[a.Server] = max(s.fleet.targets[a.Server], a.Replica+1)
		}
	}
	return nil
}

// encode cannot fail for messages that came over the wire or from a volume.
func encode(message proto.Message) encoded {
	content, err := protojson.Marshal(message)
	if err != nil {
		panic("simulator: encode a stored message: " + err.Error())
	}
	return content
}

// decode fills a message and returns it.
func decode[M proto.Message](content encoded, into M) (M, error) {
	return into, protojson.Unmarshal(content, into)
}
