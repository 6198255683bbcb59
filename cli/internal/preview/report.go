package preview

import (
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
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
}

// Change is a change of one field.
type Change struct {
	fields.Change
	// Source is the layer that causes it; nil if unknown.
	Source *Source `json:"source,omitempty"`
}

// Source is the layer that sets a field.
type Source struct {
	// Layer, such as "SeldonConfig seldon-system/default".
	Layer string `json:"layer"`
	// Path in the layer, such as spec.components[0].podSpec.
	Path string `json:"path,omitempty"`
	// Index of the layer, from 0, the templates.
	Index int `json:"index"`
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
