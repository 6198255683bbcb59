package v1alpha1_test

import (
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

const (
	noDots = "metadata.name must not contain a dot: the scheduler accepts lower-case letters, digits and '-' only"
	oneRef = "modelRef and pipelineRef are mutually exclusive: remove one of them"
)

func dotless(kind string) rule {
	return rule{
		kind: kind, path: "", keyword: noDots, field: "<nil>", message: noDots,
		rejected: fields{"metadata.name": "a.b"}, accepted: fields{"metadata.name": "a-b"},
	}
}

// workloadName returns the rules of a name of workloads, pods and Services. what is its
// field in the messages.
func workloadName(kind, path, what, services string) []rule {
	long := what + " must have at most 52 characters: pods have the name and a revision hash in a label, whose value has at most 63"
	form := what + " must consist of lower-case letters, digits and '-', begin with a letter and not end with '-'" + services
	at := func(keyword, rejected, accepted string) rule {
		made := rule{
			kind: kind, path: path, keyword: keyword, message: keyword,
			rejected: fields{path: rejected}, accepted: fields{path: accepted},
		}
		if path == "metadata.name" {
			made.path, made.field = "", "<nil>"
		}
		return made
	}
	rules := []rule{
		at(long, strings.Repeat("x", 53), strings.Repeat("x", 52)),
		at(long, strings.Repeat("y", 63), "y-1"),
		at(long, strings.Repeat("z", 70), "z"),
		at(form, "1st", "first"),
		at(form, "c.d", "c-d"),
	}
	if path == "metadata.name" {
		return rules // The API server itself rejects the others.
	}
	bounded := atMostLong(kind, path, 253)
	bounded.accepted[path] = strings.Repeat("x", 52)
	return append(rules, bounded, at(form, "My_Component", "my-component"), at(form, "a-", "a"), at(form, "", "a"))
}

func rulesOfModels() []rule {
	const memory = "memory must be a quantity of bytes, at least 1 and below 8Ei, such as 500Mi"
	bytes := func(rejected, accepted any) rule {
		return rule{
			kind: v1alpha1.KindModel, path: "spec.memory", keyword: memory, message: memory,
			rejected: fields{"spec.memory": rejected}, accepted: fields{"spec.memory": accepted},
		}
	}
	oneReference := func(path string, accepted fields) rule {
		return rule{
			kind: v1alpha1.KindModel, path: path, keyword: oneRef, field: path + ".pipelineRef", message: oneRef,
			rejected: fields{"spec.explainer": nil, path: fields{"modelRef": "a", "pipelineRef": "b"}},
			accepted: fields{"spec.explainer": nil, path: accepted},
		}
	}
	const exclusive = "explainer and llm are mutually exclusive: remove one of them"
	return slices.Concat(
		[]rule{
			needsSpec(v1alpha1.KindModel, "spec is missing: a Model needs at least spec.storageUri"),
			dotless(v1alpha1.KindModel),
			atMostTexts(v1alpha1.KindModel, "spec.requirements"),
			atMost(v1alpha1.KindModel, "spec.parameters", 1024, fields{"value": "x"}),
			notEmpty(v1alpha1.KindModel, "spec.storageUri"),
			{
				kind: v1alpha1.KindModel, path: "spec", keyword: exclusive, field: "spec.llm", message: exclusive,
				rejected: fields{"spec.llm": fields{}}, accepted: fields{"spec.llm": fields{}, "spec.explainer": nil},
			},
			oneReference("spec.explainer", fields{"modelRef": "a"}),
			oneReference("spec.explainer", fields{"modelRef": "", "pipelineRef": "b"}),
			oneReference("spec.llm", fields{"pipelineRef": "b"}),
			oneReference("spec.llm", fields{"modelRef": "a", "pipelineRef": ""}),
			bytes(0, 1),
			bytes(-1, 1),
			bytes("0", "1"),
			bytes("-1M", "1M"),
			bytes("500m", "1000m"),
			bytes("0.5", "1.5"),
			bytes("1e1.5", "1e15"),
			bytes("1e-99999999", "1e0"),
			bytes("1E+2147483647", "1E+2"),
			bytes("8Ei", "7Ei"),
			bytes("16E", "9E"),
			bytes("9223372036854775808", "9223372036854775806"),
			bytes("9223372036854775807", "9223372036854775806"),
			bytes(9223372036854775807, 9223372036854775806),
			bytes("1 Gi", "1Gi"),
			bytes("", ".5Gi"),
			{
				kind: v1alpha1.KindModel, path: "spec.memory", keyword: "maxLength", message: "may not be more than 64 bytes",
				rejected: fields{"spec.memory": strings.Repeat("0", 64) + "1"},
				accepted: fields{"spec.memory": strings.Repeat("0", 63) + "1"},
			},
		},
		between(v1alpha1.KindModel, "spec.artifactVersion", 0, uint32Max),
		between(v1alpha1.KindModel, "spec.logger.percent", 0, 100),
		inOrder(v1alpha1.KindModel, "spec"),
	)
}

func rulesOfPipelines() []rule {
	const (
		ownName = "a step must not have the pipeline's own name: rename the pipeline or the step's model"
		inputs  = "input needs at least one of externalInputs: name a pipeline there, or leave out input"
	)
	joins := func(path string) []rule { return oneOf(v1alpha1.KindPipeline, path, "INNER", "inner", "outer", "any") }
	return slices.Concat(
		[]rule{
			needsSpec(v1alpha1.KindPipeline, "spec is missing: a Pipeline needs at least spec.steps"),
			dotless(v1alpha1.KindPipeline),
			{
				kind: v1alpha1.KindPipeline, path: "", keyword: ownName, field: "<nil>", message: ownName,
				rejected: fields{"metadata.name": "same", "spec.steps[1].name": "same"},
				accepted: fields{"metadata.name": "same", "spec.steps[1].name": "other"},
			},
			{
				kind: v1alpha1.KindPipeline, path: "spec.input", keyword: inputs, field: "spec.input.externalInputs", message: inputs,
				rejected: fields{"spec.input": fields{}}, accepted: fields{"spec.input": nil},
			},
			{
				kind: v1alpha1.KindPipeline, path: "spec.input", keyword: inputs, field: "spec.input.externalInputs", message: inputs,
				rejected: fields{"spec.input.externalInputs": []any{}},
				accepted: fields{"spec.input.externalInputs": []any{"loans"}},
			},
			{
				kind: v1alpha1.KindPipeline, path: "spec.steps", keyword: "minItems", message: "should have at least 1 items",
				rejected: fields{"spec.steps": []any{}}, accepted: fields{"spec.steps": []any{fields{"name": "a"}}},
			},
			atMost(v1alpha1.KindPipeline, "spec.steps", 1024, fields{}),
			unique(v1alpha1.KindPipeline, "spec.steps", fields{"name": "a"}),
			notEmpty(v1alpha1.KindPipeline, "spec.steps[0].name"),
			atMostLong(v1alpha1.KindPipeline, "spec.steps[0].name", 253),
			atMostTexts(v1alpha1.KindPipeline, "spec.steps[0].inputs"),
			atMostTexts(v1alpha1.KindPipeline, "spec.steps[0].triggers"),
			atMostTexts(v1alpha1.KindPipeline, "spec.input.externalInputs"),
			atMostTexts(v1alpha1.KindPipeline, "spec.input.externalTriggers"),
			atMostTexts(v1alpha1.KindPipeline, "spec.output.steps"),
			noEmptyItem("spec.steps[0].inputs"),
			noEmptyItem("spec.steps[0].triggers"),
			noEmptyItem("spec.input.externalInputs"),
			noEmptyItem("spec.input.externalTriggers"),
			noEmptyItem("spec.output.steps"),
		},
		between(v1alpha1.KindPipeline, "spec.maxStepRevisits", 0, uint32Max),
		between(v1alpha1.KindPipeline, "spec.input.joinWindowMs", 0, uint32Max),
		between(v1alpha1.KindPipeline, "spec.output.joinWindowMs", 0, uint32Max),
		between(v1alpha1.KindPipeline, "spec.steps[1].joinWindowMs", 0, uint32Max),
		between(v1alpha1.KindPipeline, "spec.steps[1].batch.size", 0, uint32Max),
		between(v1alpha1.KindPipeline, "spec.steps[1].batch.windowMs", 0, uint32Max),
		joins("spec.input.joinType"),
		joins("spec.input.triggersJoinType"),
		joins("spec.output.stepsJoin"),
		joins("spec.steps[1].inputsJoinType"),
		joins("spec.steps[1].triggersJoinType"),
	)
}

func rulesOfExperiments() []rule {
	const (
		something = "an experiment needs a candidate or a mirror: add one"
		candidate = "default must be the name of a candidate: add it to candidates or change default"
		mirror    = "the mirror must not be a candidate too: choose another mirror or remove the candidate"
	)
	candidates := atMost(v1alpha1.KindExperiment, "spec.candidates", 1024, fields{"weight": 1})
	candidates.accepted["spec.default"], candidates.rejected["spec.default"] = nil, nil
	return slices.Concat(
		[]rule{
			needsSpec(v1alpha1.KindExperiment, "spec is missing: an Experiment needs at least spec.candidates"),
			{
				kind: v1alpha1.KindExperiment, path: "spec", keyword: something, field: "spec.candidates", message: something,
				rejected: fields{"spec.default": nil, "spec.candidates": []any{}, "spec.mirror": nil},
				accepted: fields{"spec.default": nil, "spec.candidates": []any{}},
			},
			{
				kind: v1alpha1.KindExperiment, path: "spec", keyword: candidate, field: "spec.default", message: candidate,
				rejected: fields{"spec.default": "income-mirror"}, accepted: fields{"spec.default": "income-next"},
			},
			{
				kind: v1alpha1.KindExperiment, path: "spec", keyword: mirror, field: "spec.mirror", message: mirror,
				rejected: fields{"spec.mirror.name": "income-next"}, accepted: fields{"spec.mirror.name": "another"},
			},
			{
				kind: v1alpha1.KindExperiment, path: "spec.default", keyword: "maxLength", message: "may not be more than 253 bytes",
				rejected: fields{"spec.default": strings.Repeat("x", 254)},
				accepted: fields{
					"spec.default": strings.Repeat("x", 253), "spec.candidates[0].name": strings.Repeat("x", 253),
				},
			},
			candidates,
			unique(v1alpha1.KindExperiment, "spec.candidates", fields{"name": "income", "weight": 1}),
			notEmpty(v1alpha1.KindExperiment, "spec.candidates[1].name"),
			atMostLong(v1alpha1.KindExperiment, "spec.candidates[1].name", 253),
			notEmpty(v1alpha1.KindExperiment, "spec.mirror.name"),
			atMostLong(v1alpha1.KindExperiment, "spec.mirror.name", 253),
		},
		between(v1alpha1.KindExperiment, "spec.candidates[1].weight", 0, uint32Max),
		between(v1alpha1.KindExperiment, "spec.mirror.percent", 0, 100),
		oneOf(v1alpha1.KindExperiment, "spec.resourceType", "Pipeline", "", "model", "pipeline"),
	)
}

// patchRules returns the rules of patches at path.
func patchRules(kind, path string) []rule {
	return []rule{
		atMost(kind, path, 256, fields{"patch": "x"}),
		notEmpty(kind, path+"[0].patch"),
		atMostLong(kind, path+"[0].patch", 65536),
	}
}

// serverRules returns the rules of a ServerSpec at path.
func serverRules(kind, path string) []rule {
	pods := func(field string) []rule {
		path := path + ".deploymentStrategy.rollingUpdate." + field
		message := field + " must be a number from 0 to 2147483647 or a percentage such as 25%"
		at := func(rejected, accepted any) rule {
			return rule{
				kind: kind, path: path, keyword: message, message: message,
				rejected: fields{path: rejected}, accepted: fields{path: accepted},
			}
		}
		return []rule{
			at(-1, 0), at(int32Max+1, int32Max), at(int32Max+1, "100%"),
			atMostLong(kind, path, 64),
		}
	}
	const retention = ".statefulSetPersistentVolumeClaimRetentionPolicy."
	return slices.Concat(
		[]rule{
			notEmpty(kind, path+".serverConfig"),
			atMostTexts(kind, path+".capabilities"),
			atMostTexts(kind, path+".extraCapabilities"),
		},
		patchRules(kind, path+".patches"),
		inOrder(kind, path),
		oneOf(kind, path+retention+"whenDeleted", "Keep", "", "Retain", "Delete"),
		oneOf(kind, path+retention+"whenScaled", "Keep", "", "Retain", "Delete"),
		oneOf(kind, path+".deploymentStrategy.type", "Rolling", "", "RollingUpdate", "Recreate"),
		pods("maxSurge"),
		pods("maxUnavailable"),
	)
}

func rulesOfServers() []rule {
	return slices.Concat(
		[]rule{needsSpec(v1alpha1.KindServer, "spec is missing: a Server needs at least spec.serverConfig")},
		workloadName(v1alpha1.KindServer, "metadata.name", "metadata.name", ": Services are named after it"),
		serverRules(v1alpha1.KindServer, "spec"),
	)
}

// configurationRules are the rules of a SeldonConfiguration at spec.config.
func configurationRules(kind string) []rule {
	const (
		path    = "spec.config.tracingConfig.ratio"
		message = "ratio must be a number from 0 to 1, such as 0.25"
	)
	ratio := func(rejected, accepted string) rule {
		return rule{
			kind: kind, path: path, keyword: message, message: message,
			rejected: fields{path: rejected}, accepted: fields{path: accepted},
		}
	}
	return slices.Concat(
		[]rule{
			ratio("1.01", "1.00"),
			ratio("-0.1", "+0.1"),
			ratio("half", ""),
			ratio("2e0", "5e-1"),
			ratio("NaN", "0"),
			{
				kind: kind, path: path, keyword: "maxLength", message: "may not be more than 64 bytes",
				rejected: fields{path: strings.Repeat("0", 65)}, accepted: fields{path: strings.Repeat("0", 64)},
			},
			atMostTexts(kind, "spec.config.agentConfig.rclone.config"),
			atMostTexts(kind, "spec.config.agentConfig.rclone.config_secrets"),
		},
		between(kind, "spec.config.scalingConfig.servers.scaleDownPackingPercentage", 0, 100),
		between(kind, "spec.config.scalingConfig.pipelines.maxShardCountMultiplier", 0, int32Max),
		oneOf(kind, "spec.config.serviceConfig.serviceType", "loadBalancer", "", "ClusterIP", "NodePort", "LoadBalancer"),
	)
}

func claimRules(kind, path string) []rule {
	return []rule{
		notEmpty(kind, path+"[0].name"),
		atMost(kind, path, 256, fields{"spec": fields{}}),
		unique(kind, path, fields{"name": "data", "spec": fields{}}),
	}
}

func rulesOfConfigs() []rule {
	return slices.Concat(
		[]rule{
			needsSpec(v1alpha1.KindServerConfig, "spec is missing: a ServerConfig needs at least spec.podSpec"),
			needsSpec(v1alpha1.KindSeldonConfig, "spec is missing: list the components of a runtime in spec.components"),
			unique(v1alpha1.KindSeldonConfig, "spec.components", fields{"name": "hodometer"}),
			atMost(v1alpha1.KindSeldonConfig, "spec.components", 256, fields{}),
		},
		patchRules(v1alpha1.KindSeldonConfig, "spec.patches"),
		workloadName(v1alpha1.KindSeldonConfig, "spec.components[0].name", "name", ", as names of Services do"),
		claimRules(v1alpha1.KindServerConfig, "spec.volumeClaimTemplates"),
		claimRules(v1alpha1.KindSeldonConfig, "spec.components[0].volumeClaimTemplates"),
		between(v1alpha1.KindSeldonConfig, "spec.components[0].replicas", 0, v1alpha1.MaxReplicas),
		configurationRules(v1alpha1.KindSeldonConfig),
	)
}

func rulesOfRuntimes() []rule {
	return slices.Concat(
		[]rule{
			needsSpec(v1alpha1.KindSeldonRuntime, "spec is missing: a SeldonRuntime needs at least spec.seldonConfig"),
			notEmpty(v1alpha1.KindSeldonRuntime, "spec.seldonConfig"),
			notEmpty(v1alpha1.KindSeldonRuntime, "spec.overrides[0].name"),
			atMost(v1alpha1.KindSeldonRuntime, "spec.overrides", 256, fields{}),
			unique(v1alpha1.KindSeldonRuntime, "spec.overrides", fields{"name": "hodometer"}),
			unique(v1alpha1.KindSeldonRuntime, "spec.servers", fields{"name": "mlserver", "serverConfig": "mlserver"}),
			atMost(v1alpha1.KindSeldonRuntime, "spec.servers", 256, fields{"serverConfig": "mlserver"}),
		},
		workloadName(v1alpha1.KindSeldonRuntime, "spec.servers[0].name", "name", ": Services are named after it"),
		between(v1alpha1.KindSeldonRuntime, "spec.overrides[0].replicas", 0, v1alpha1.MaxReplicas),
		oneOf(v1alpha1.KindSeldonRuntime, "spec.overrides[0].serviceType", "ExternalName", "", "ClusterIP", "NodePort", "LoadBalancer"),
		oneOf(v1alpha1.KindSeldonRuntime, "spec.deletionPolicy", "Orphan", "Retain", "Cascade", "Block"),
		patchRules(v1alpha1.KindSeldonRuntime, "spec.patches"),
		serverRules(v1alpha1.KindSeldonRuntime, "spec.servers[0]"),
		configurationRules(v1alpha1.KindSeldonRuntime),
	)
}
