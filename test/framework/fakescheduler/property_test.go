package fakescheduler

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// script is a sequence of random acts on a world without sockets, in which every
// act is followed by as many background tasks as the next byte says.
type script struct {
	t     *testing.T
	mu    sync.Mutex
	world *world
	bytes []byte
	told  *queue[pb.ModelStatusResponse]
}

func newScript(t *testing.T, bytes []byte) *script {
	s := &script{t: t, bytes: bytes, told: newQueue[pb.ModelStatusResponse]()}
	o := Options{Agents: AgentsManual}.withDefaults()
	s.world = newWorld(o, newLoop(&s.mu), newFleet(o))
	s.do(func() { s.world.start() })
	s.world.modelEvents.add(s.told)
	return s
}

// do does something under the mutex.
func (s *script) do(act func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act()
}

// next is the next byte, below n.
func (s *script) next(n int) int {
	if len(s.bytes) == 0 {
		return 0
	}
	b := int(s.bytes[0])
	s.bytes = s.bytes[1:]
	return b % n
}

// act does one thing. Refusals are as good as effects.
func (s *script) act() {
	w := s.world
	name := fmt.Sprintf("m%d", s.next(3))
	server := fmt.Sprintf("s%d", s.next(2))
	generation := int64(1 + s.next(4))
	kind := pb.ResourceType(s.next(2))
	acts := []func(){
		func() {
			_ = w.loadModel(testModel(name, generation, func(m *pb.Model) {
				m.ModelSpec.Uri = fmt.Sprint(s.next(2))
				m.DeploymentSpec.Replicas, m.DeploymentSpec.MinReplicas = uint32(s.next(4)), uint32(s.next(2))
				if s.next(4) == 0 {
					m.ModelSpec.Server = &server
				}
			}))
		},
		func() {
			_ = w.unloadModel(name, meta(generation))
			// Its own event may come too late to be told, when it is loaded anew at once.
			s.told.push(&pb.ModelStatusResponse{ModelName: name, Deleted: true})
		},
		func() { _ = w.loadPipeline(testPipeline("p"+name, generation, "m0", name)) },
		func() { _ = w.unloadPipeline("p" + name) },
		func() { _ = w.startExperiment(testExperiment("e"+name, kind, name, "p"+name)) },
		func() { _ = w.stopExperiment("e" + name) },
		func() {
			w.notify(&pb.ServerNotifyRequest{IsFirstSync: s.next(3) == 0, Servers: []*pb.ServerNotify{{
				Name: server, ExpectedReplicas: uint32(s.next(4)), MaxReplicas: 3, KubernetesMeta: meta(generation),
			}}})
		},
		func() {
			a := Agent{Server: server, Replica: s.next(3), Memory: uint64(s.next(3))}
			if s.next(2) == 0 {
				a.Loaded = []LoadedModel{{Model: testModel(name, generation, nil), Version: uint32(generation)}}
			}
			w.fleet.join(a)
			w.connectAgent(replicaKey{a.Server, a.Replica})
		},
		func() { w.leave(replicaKey{server, s.next(3)}) },
		func() {
			kind := workerKinds[s.next(len(workerKinds))]
			w.fleet.workers[kind] = s.next(3)
			w.staff(kind)
		},
		func() { w.fleet.failures[failure{failLoad, name}] = s.next(2) },
		func() { w.fleet.failures[failure{string(workerKinds[s.next(3)]), name}] = s.next(2) },
		func() { w.gate.force() },
		func() { w.retryModels(); w.retryPipelines() },
		func() { w.changePipelines(dataflowEngines, (*duty).shuffle) },
	}
	s.do(acts[s.next(len(acts))])
	for range s.next(8) {
		s.world.loop.step(false)
	}
	s.do(s.consistent)
}

// consistent is what holds at every moment.
func (s *script) consistent() {
	for _, server := range s.world.servers {
		if len(server.replicas) == 0 && server.expected < 0 {
			s.t.Fatalf("server %s is remembered without a reason", server.name)
		}
		for index, r := range server.replicas {
			loaded, used := int32(0), uint64(0)
			for key, p := range r.models {
				used += p.memory
				if p.loaded {
					loaded++
				}
				m := s.world.models[key.model]
				if m == nil || m.version(key.version) == nil {
					continue // Replaced after a failed unload.
				}
				if v := m.version(key.version); v.server != "" && v.server != server.name {
					s.t.Fatalf("%v is on %s/%d and says %s", key, server.name, index, v.server)
				}
			}
			if loaded != r.loaded || used != r.used {
				s.t.Fatalf("%s/%d counts %d loaded, %d used, has %d and %d", server.name, index, r.loaded, r.used, loaded, used)
			}
		}
	}
	for _, m := range s.world.models {
		for _, v := range m.versions {
			for index, r := range v.replicas {
				if alive(r.state) && !s.world.connected(replicaKey{v.server, index}) {
					s.t.Fatalf("%s %d has a live replica on %s/%d, which is not there", m.name, v.number, v.server, index)
				}
			}
		}
	}
}

// settled is what holds when nothing is left to do and the gate is open.
func (s *script) settled() {
	for name, m := range s.world.models {
		v := m.latest()
		// Progressing without progress is what a failed attempt to place more replicas
		// turns into when another replica changes.
		stuck := v.state == pb.ModelStatus_ModelProgressing && v.count(staying) != int(v.available)
		if !m.deleted && stuck || m.deleted && !m.inactive() {
			s.t.Fatalf("%s is stuck in %s %v", name, v.state, modelWords(m.message(v)))
		}
		for _, older := range m.versions[:len(m.versions)-1] {
			if v.state == pb.ModelStatus_ModelAvailable && older.live() {
				s.t.Fatalf("%s %d lives beside %d", name, older.number, v.number)
			}
		}
		s.notPending(name, &v.gateway)
	}
	for name, p := range s.world.pipelines {
		for _, v := range p.versions {
			s.notPending(name, &v.engine)
			s.notPending(name, &v.gateway)
		}
	}
}

func (s *script) notPending(name string, d *duty) {
	if d.phase == phaseCreating || d.phase == phaseRebalancing || d.phase == phaseTerminate || d.phase == phaseTerminating {
		s.t.Fatalf("%s is stuck in phase %d", name, d.phase)
	}
}

// play runs the script, then takes everything down and looks at what is left.
func (s *script) play() {
	for len(s.bytes) > 0 {
		s.act()
	}
	s.do(func() {
		s.world.gate.force()
		clear(s.world.fleet.failures)
	})
	s.drain()
	s.do(s.consistent)
	s.do(s.settled)
	s.do(s.unloadAll)
	s.drain()
	s.do(s.consistent)
	s.do(s.settled)
	s.do(s.nothingLeft)
	s.do(func() { s.world.loop.close() })
}

// drain does what is left to do, which must come to an end.
func (s *script) drain() {
	for range 100_000 {
		if !s.world.loop.step(false) {
			return
		}
	}
	s.t.Fatal("there is always something to do")
}

func (s *script) unloadAll() {
	w := s.world
	for name := range w.models {
		_ = w.unloadModel(name, nil)
	}
	for name := range w.pipelines {
		_ = w.unloadPipeline(name)
	}
	for name := range w.experiments {
		_ = w.stopExperiment(name)
	}
}

func (s *script) nothingLeft() {
	w := s.world
	for _, server := range w.servers {
		for index, r := range server.replicas {
			if len(r.models) > 0 {
				s.t.Fatalf("left on %s/%d: %v", server.name, index, r.models)
			}
			if left := w.fleet.agents[replicaKey{server.name, index}].loaded; len(left) > 0 {
				s.t.Fatalf("left with the agent %s/%d: %v", server.name, index, left)
			}
		}
	}
	for name, p := range w.pipelines {
		for _, v := range p.versions {
			if !v.engine.ending() || !v.gateway.ending() {
				s.t.Fatalf("%s is %s", name, pipelineWords(p.message(v)))
			}
		}
	}
	for name, e := range w.experiments {
		if e.active {
			s.t.Fatalf("%s is active", name)
		}
	}
	for name, m := range w.models {
		if v := m.latest(); v.state != pb.ModelStatus_ModelTerminated {
			s.t.Fatalf("%s is %s", name, modelWords(m.message(v)))
		}
	}
	s.inSaneOrder()
}

// inSaneOrder checks what was told of models: versions do not go back, but for a
// model that was deleted.
func (s *script) inSaneOrder() {
	last := map[string]*pb.ModelStatusResponse{}
	for _, message := range s.told.take() {
		before := last[message.GetModelName()]
		last[message.GetModelName()] = message
		if before == nil || before.GetDeleted() || message.GetDeleted() {
			continue
		}
		if was, is := before.GetVersions()[0].GetVersion(), message.GetVersions()[0].GetVersion(); is < was {
			s.t.Fatalf("%s went from version %d to %d", message.GetModelName(), was, is)
		}
	}
}

func TestRandomSequences(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		bytes := make([]byte, random.IntN(600))
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { newScript(t, bytes).play() }) {
			return
		}
	}
}

func FuzzSequences(f *testing.F) {
	f.Add([]byte("the same as above, from whatever the fuzzer thinks of"))
	f.Fuzz(func(t *testing.T, bytes []byte) { newScript(t, bytes[:min(len(bytes), 2000)]).play() })
}
