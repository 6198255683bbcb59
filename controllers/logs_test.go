package controllers_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// logLines records the operator's log at its default level.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

var logged = &logLines{}

// Write implements [io.Writer]; each call is a line.
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := string(line); !strings.Contains(text, "\tDEBUG\t") {
		l.lines = append(l.lines, text)
	}
	return len(line), nil
}

// about returns the lines that contain a text.
func (l *logLines) about(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

var _ = Describe("The log", func() {
	It("has no line for each of many Models", func() {
		namespace := newNamespace()
		newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		number := 200
		if testing.Short() {
			number = 50
		}
		var models []*v1alpha1.Model
		for i := range number {
			models = append(models, newModel(namespace, fmt.Sprintf("model-%d", i)))
		}
		for _, model := range models {
			Eventually(ready(model)).Should(HavePrefix("True"))
		}
		Expect(admin.DeleteAllOf(lifetime, &v1alpha1.Model{}, client.InNamespace(namespace))).To(Succeed())
		for _, model := range models {
			Eventually(isDeleted(model)).Should(BeTrue())
		}
		orphan := newServer(namespace, "orphan", "none-"+namespace)
		Eventually(ready(orphan)).Should(HavePrefix("False ConfigNotFound"))
		lines := logged.about(namespace)
		reportMetric(fmt.Sprint(number)+" Models loaded and deleted: lines of the log", len(lines))
		Expect(len(lines)).To(BeNumerically("<", 5), strings.Join(lines, ""))
		Expect(lines).To(ContainElement(ContainSubstring("connected")))
	})
})
