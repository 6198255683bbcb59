package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Images of programs have neither curl nor, some of them, a shell. The health check of a pod
// therefore runs in the container that has its network, from an image that has wget and nc.
// Probes with a command run in their own container.

// readiness returns the probe that decides whether a container is ready; nil for none.
func readiness(c *corev1.Container) *corev1.Probe {
	if c.ReadinessProbe != nil {
		return c.ReadinessProbe
	}
	return c.StartupProbe
}

// healthcheck returns the check of a pod: the probes of its containers that are requests.
func (t *translation) healthcheck(p *pod) *Healthcheck {
	var tests []string
	check := &Healthcheck{StartInterval: seconds(2)}
	var interval, timeout, start int32
	for i := range p.spec.Containers {
		c := &p.spec.Containers[i]
		start = max(start, startPeriod(c))
		probe := readiness(c)
		if probe == nil || probe.Exec != nil {
			continue
		}
		limit := cmp.Or(probe.TimeoutSeconds, 1)
		tests = append(tests, t.request(p, c, probe, limit))
		timeout += limit
		check.Retries = max(check.Retries, cmp.Or(probe.FailureThreshold, 3))
		if period := cmp.Or(probe.PeriodSeconds, 10); interval == 0 || period < interval {
			interval = period
		}
	}
	if len(tests) == 0 {
		return nil
	}
	check.Test = []string{"CMD-SHELL", escape(strings.Join(tests, " && "))}
	check.Interval, check.Timeout, check.StartPeriod = seconds(interval), seconds(timeout+1), seconds(start)
	return check
}

// ownCheck returns the check of a container whose probe is a command; nil for none.
func (t *translation) ownCheck(c *corev1.Container) *Healthcheck {
	probe := readiness(c)
	if probe == nil || probe.Exec == nil {
		return nil
	}
	return &Healthcheck{
		Test:     append([]string{"CMD"}, escapeAll(probe.Exec.Command)...),
		Interval: seconds(cmp.Or(probe.PeriodSeconds, 10)), Timeout: seconds(cmp.Or(probe.TimeoutSeconds, 1)),
		Retries: cmp.Or(probe.FailureThreshold, 3), StartPeriod: seconds(startPeriod(c)), StartInterval: seconds(2),
	}
}

// startPeriod returns the seconds in which failures of probes do not count.
func startPeriod(c *corev1.Container) int32 {
	var period int32
	if probe := c.StartupProbe; probe != nil {
		period = probe.InitialDelaySeconds + cmp.Or(probe.PeriodSeconds, 10)*cmp.Or(probe.FailureThreshold, 3)
	}
	if probe := c.ReadinessProbe; probe != nil {
		period = max(period, probe.InitialDelaySeconds)
	}
	return max(period, 10)
}

// request returns the command of a probe that is a request.
func (t *translation) request(p *pod, c *corev1.Container, probe *corev1.Probe, timeout int32) string {
	of := fmt.Sprintf("%s/%s", p.workload, c.Name)
	switch {
	case probe.HTTPGet != nil:
		get := probe.HTTPGet
		scheme := strings.ToLower(string(cmp.Or(get.Scheme, corev1.URISchemeHTTP)))
		words := []string{"wget -q -O /dev/null -T", strconv.Itoa(int(timeout))}
		if scheme == "https" {
			words = append(words, "--no-check-certificate")
		}
		for _, header := range get.HTTPHeaders {
			words = append(words, "--header", quote(header.Name+": "+header.Value))
		}
		url := fmt.Sprintf("%s://%s:%d/%s", scheme, cmp.Or(get.Host, "127.0.0.1"), probePort(c, get.Port), strings.TrimPrefix(get.Path, "/"))
		return strings.Join(append(words, quote(url)), " ")
	case probe.GRPC != nil:
		t.warn("containers.readinessProbe.grpc", "only the connection is checked", of)
		return connect("", probe.GRPC.Port, timeout)
	default:
		return connect(probe.TCPSocket.Host, probePort(c, probe.TCPSocket.Port), timeout)
	}
}

// connect returns the command that connects to a port.
func connect(host string, port, timeout int32) string {
	return fmt.Sprintf("nc -z -w %d %s %d", timeout, cmp.Or(host, "127.0.0.1"), port)
}

// probePort returns the number of a port of a probe.
func probePort(c *corev1.Container, port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	at := slices.IndexFunc(c.Ports, func(each corev1.ContainerPort) bool { return each.Name == port.StrVal })
	if at < 0 {
		return 0
	}
	return c.Ports[at].ContainerPort
}

// quote quotes a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// seconds formats a duration.
func seconds(count int32) string {
	if count%60 == 0 && count > 0 {
		return strconv.Itoa(int(count/60)) + "m"
	}
	return (time.Duration(count) * time.Second).String()
}
