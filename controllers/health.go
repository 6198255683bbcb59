package controllers

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// childHealth is the health of one child, with its name for messages.
type childHealth struct {
	key     composition.Key
	health  composition.Health
	message string
}

// serverKind is the only kind of children, beside workloads, whose controller
// reports on it: one that was created a moment ago is not ready.
var serverKind = v1alpha1.GroupVersion.WithKind("Server").GroupKind()

// healthOf computes the health of every rendered child.
func healthOf(outcome composition.Outcome) map[composition.Key]childHealth {
	children := make(map[composition.Key]childHealth, len(outcome.Children))
	for key, live := range outcome.Children {
		health, message := composition.HealthOf(live, serverKind)
		children[key] = childHealth{key, health, message}
	}
	return children
}

// String is how a message tells a child that is not ready.
func (c childHealth) String() string {
	if c.message == "" {
		return fmt.Sprintf("%s %s is %s", c.key.Kind, c.key.Name, c.health)
	}
	return fmt.Sprintf("%s %s: %s", c.key.Kind, c.key.Name, c.message)
}

// verdict of a condition that speaks of this child alone.
func (c childHealth) verdict(condition string) verdict {
	switch c.health {
	case composition.Healthy:
		return isTrue(condition, reasonReady, fmt.Sprintf("%s %s is ready", c.key.Kind, c.key.Name))
	case composition.Progressing:
		return isFalse(condition, reasonProgressing, c.String())
	default:
		return isFalse(condition, string(c.health), c.String())
	}
}

// summary of several children: the worst of them, and all that are not ready.
func summary(condition string, children []childHealth, also []string) verdict {
	worst := composition.Healthy
	messages := also
	for _, child := range children {
		if child.health == composition.Healthy {
			continue
		}
		messages = append(messages, child.String())
		if worst == composition.Healthy || child.health == composition.Failed {
			worst = child.health
		}
	}
	switch worst {
	case composition.Healthy:
		return isTrue(condition, reasonReady, join(also))
	case composition.Progressing:
		return isFalse(condition, reasonProgressing, join(messages))
	default:
		return isFalse(condition, string(worst), join(messages))
	}
}

// readiness sums everything up: Ready, and Paused where that holds.
func readiness(object conditioned, children []childHealth, outcome composition.Outcome, disabled []string) []verdict {
	var verdicts []verdict
	if object.GetAnnotations()[v1alpha1.PausedAnnotation] == "true" {
		verdicts = append(verdicts, isTrue(v1alpha1.ConditionPaused, v1alpha1.ConditionPaused, fmt.Sprintf(
			"nothing is written to the children until the annotation %s is taken away", v1alpha1.PausedAnnotation)))
	}
	// What is held back outweighs what is on its way: only somebody can mend it.
	for _, step := range outcome.Held() {
		if _, told := heldConditions[step.Reason]; told {
			return append(verdicts, isFalse(v1alpha1.ConditionReady, string(step.Reason), join(heldMessages(outcome))))
		}
	}
	var also []string
	if len(disabled) > 0 {
		also = append(also, "disabled: "+strings.Join(disabled, ", "))
	}
	return append(verdicts, summary(v1alpha1.ConditionReady, children, also))
}

func heldMessages(outcome composition.Outcome) []string {
	var messages []string
	for _, step := range outcome.Held() {
		if step.Message != "" {
			messages = append(messages, step.Message)
		}
	}
	return messages
}

// eachItem calls do with each object of a list.
func eachItem(list client.ObjectList, do func(client.Object)) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}
