package preview

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// APIVersion and Kind of a report in JSON and YAML.
const (
	APIVersion = "plan.mlops.seldon.io/v1"
	Kind       = "Plan"
)

// Verb is what a step does with an object.
type Verb string

// The verbs of steps.
const (
	Create   Verb = "create"
	Patch    Verb = "patch"
	Recreate Verb = "recreate"
	Delete   Verb = "delete"
	Retain   Verb = "retain"
	Block    Verb = "block"
	None     Verb = "none"
	// Unknown: the objects of the kind could not be read.
	Unknown Verb = "unknown"
)

// Report is the plan of all owners that were asked for.
type Report struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// TemplatesVersion is the version of this program, whose templates the plan is made by.
	TemplatesVersion string `json:"templatesVersion"`
	// OperatorVersion is that of the operator in the cluster; empty if unknown.
	OperatorVersion string `json:"operatorVersion,omitempty"`
	// Configs are the proposed configurations.
	Configs []Config `json:"configs,omitempty"`
	// PlanHash identifies the steps: it is the same for the same changes.
	PlanHash string  `json:"planHash"`
	Summary  Summary `json:"summary"`
	// Runtimes in the order of namespace and name.
	Runtimes []Owner `json:"runtimes"`
	// Servers that no runtime of the report has, in the order of namespace and name.
	Servers []Owner `json:"servers,omitempty"`
	// Denied are the requests that RBAC does not permit.
	Denied []string `json:"denied,omitempty"`
}

// Config is a proposed SeldonConfig or ServerConfig.
type Config struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// From and To identify the live and the proposed content; From is empty for a new one.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
}

// Summary has the totals of a report.
type Summary struct {
	// Runtimes and Servers are the numbers of owners.
	Runtimes int `json:"runtimes"`
	Servers  int `json:"servers"`
	// ByImpact is the number of runtimes, and of Servers without a runtime, by impact.
	ByImpact map[string]int `json:"byImpact"`
	// Writes are the steps that write: create, patch, recreate and delete.
	Writes int `json:"writes"`
	// Restarts are the workloads whose pods are replaced or removed.
	Restarts int `json:"restarts"`
	Deletes  int `json:"deletes"`
	Blocked  int `json:"blocked"`
	// Inferred are the steps whose dry-run was that of an equal one, Unverified those that
	// were computed in memory because the dry-run is not permitted.
	Inferred   int `json:"inferred"`
	Unverified int `json:"unverified"`
	// Unknown are the steps and owners that could not be planned.
	Unknown int `json:"unknown"`
	// MaxImpact is the highest impact.
	MaxImpact plan.Impact `json:"maxImpact"`
}

// Owner is the plan of a SeldonRuntime or a Server.
type Owner struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Config is the name of its SeldonConfig or ServerConfig.
	Config string `json:"config,omitempty"`
	// Impact is the highest of its steps and Servers.
	Impact plan.Impact `json:"impact"`
	Steps  []Step      `json:"steps"`
	// Servers of a runtime, in the order of their names.
	Servers []Owner `json:"servers,omitempty"`
	// Error is why it could not be planned.
	Error string `json:"error,omitempty"`
}

// Step is the plan of one child object.
type Step struct {
	Verb       Verb        `json:"verb"`
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Name       string      `json:"name"`
	Impact     plan.Impact `json:"impact"`
	// Reason and Message are those of the engine.
	Reason  plan.Reason `json:"reason"`
	Message string      `json:"message,omitempty"`
	// Evidence is how the result was determined.
	Evidence plan.Evidence `json:"evidence,omitempty"`
	// Unverified: the dry-run is not permitted.
	Unverified bool `json:"unverified,omitempty"`
	// Restarts: pods are replaced or removed.
	Restarts bool `json:"restarts,omitempty"`
	// Changes of fields, without status and the API server's metadata; none for create.
	Changes  []Change  `json:"changes,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"`
	// Before and After are the whole objects, without status and what the API server sets in
	// metadata; nil for an object that does not exist. Only of steps that write.
	Before map[string]any `json:"-"`
	After  map[string]any `json:"-"`
}

// Change is a change of one field.
type Change struct {
	// Path, such as spec.template.spec.containers[name=envoy].image.
	Path string `json:"path"`
	// Old and New are the values; null if the field does not exist.
	Old any `json:"old"`
	New any `json:"new"`
	// Manager is another field manager that owns the live value; empty if there is none.
	Manager string `json:"manager,omitempty"`
	// Source is the layer that causes it; nil if unknown.
	Source *provenance.Source `json:"source,omitempty"`
}

// Warning is why an object will not be as desired although the step is carried out.
type Warning struct {
	Reason  plan.Reason `json:"reason"`
	Message string      `json:"message"`
}

// Writes reports whether the step writes.
func (s Step) Writes() bool {
	return s.Verb == Create || s.Verb == Patch || s.Verb == Recreate || s.Verb == Delete
}

// All calls visit for each owner, Servers of runtimes included.
func (r *Report) All(visit func(owner *Owner)) {
	for i := range r.Runtimes {
		visit(&r.Runtimes[i])
		for j := range r.Runtimes[i].Servers {
			visit(&r.Runtimes[i].Servers[j])
		}
	}
	for i := range r.Servers {
		visit(&r.Servers[i])
	}
}

// summarize sets the totals and the hash.
func (r *Report) summarize() {
	r.Summary = Summary{ByImpact: map[string]int{}, Runtimes: len(r.Runtimes)}
	for _, owner := range r.Runtimes {
		r.Summary.ByImpact[owner.Impact.String()]++
	}
	for _, owner := range r.Servers {
		r.Summary.ByImpact[owner.Impact.String()]++
	}
	var changes []any
	r.All(func(owner *Owner) {
		if owner.Error != "" {
			r.Summary.Unknown++
		}
		r.Summary.MaxImpact = max(r.Summary.MaxImpact, owner.Impact)
		for _, step := range owner.Steps {
			r.Summary.add(step)
			if step.Writes() || step.Verb == Block {
				changes = append(changes, []any{owner.Namespace, owner.Name, step.Verb, step.Kind, step.Name, step.Changes})
			}
		}
	})
	for i := range r.Runtimes {
		r.Summary.Servers += len(r.Runtimes[i].Servers)
	}
	r.Summary.Servers += len(r.Servers)
	r.PlanHash = shortHash(changes)
}

func (s *Summary) add(step Step) {
	if step.Writes() {
		s.Writes++
	}
	if step.Restarts {
		s.Restarts++
	}
	switch step.Verb {
	case Delete:
		s.Deletes++
	case Block:
		s.Blocked++
	case Unknown:
		s.Unknown++
	default:
	}
	if step.Evidence == plan.Inferred {
		s.Inferred++
	}
	if step.Unverified {
		s.Unverified++
	}
}

// shortHash returns a hash of a value's JSON, of 10 hexadecimal digits.
func shortHash(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:5])
}
