package compose

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Project is a Compose file. Its texts are escaped: a "$" of a value is "$$".
type Project struct {
	Name     string              `yaml:"name"`
	Services map[string]*Service `yaml:"services"`
	Volumes  map[string]*Volume  `yaml:"volumes,omitempty"`
	Configs  map[string]*Config  `yaml:"configs,omitempty"`
	Secrets  map[string]*Secret  `yaml:"secrets,omitempty"`
}

// Service is a service of a [Project].
type Service struct {
	Image           string                `yaml:"image"`
	PullPolicy      string                `yaml:"pull_policy,omitempty"`
	Entrypoint      []string              `yaml:"entrypoint,omitempty"`
	Command         []string              `yaml:"command,omitempty"`
	WorkingDir      string                `yaml:"working_dir,omitempty"`
	Hostname        string                `yaml:"hostname,omitempty"`
	NetworkMode     string                `yaml:"network_mode,omitempty"`
	Networks        map[string]*Network   `yaml:"networks,omitempty"`
	PID             string                `yaml:"pid,omitempty"`
	DNS             []string              `yaml:"dns,omitempty"`
	DNSSearch       []string              `yaml:"dns_search,omitempty"`
	DNSOptions      []string              `yaml:"dns_opt,omitempty"`
	ExtraHosts      []string              `yaml:"extra_hosts,omitempty"`
	Expose          []string              `yaml:"expose,omitempty"`
	Ports           []Port                `yaml:"ports,omitempty"`
	Environment     map[string]string     `yaml:"environment,omitempty"`
	Volumes         []Mount               `yaml:"volumes,omitempty"`
	Configs         []FileRef             `yaml:"configs,omitempty"`
	Secrets         []FileRef             `yaml:"secrets,omitempty"`
	User            string                `yaml:"user,omitempty"`
	GroupAdd        []string              `yaml:"group_add,omitempty"`
	CapAdd          []string              `yaml:"cap_add,omitempty"`
	CapDrop         []string              `yaml:"cap_drop,omitempty"`
	SecurityOptions []string              `yaml:"security_opt,omitempty"`
	Privileged      bool                  `yaml:"privileged,omitempty"`
	ReadOnly        bool                  `yaml:"read_only,omitempty"`
	Sysctls         map[string]string     `yaml:"sysctls,omitempty"`
	ShmSize         string                `yaml:"shm_size,omitempty"`
	StdinOpen       bool                  `yaml:"stdin_open,omitempty"`
	TTY             bool                  `yaml:"tty,omitempty"`
	Init            bool                  `yaml:"init,omitempty"`
	Healthcheck     *Healthcheck          `yaml:"healthcheck,omitempty"`
	Deploy          *Deploy               `yaml:"deploy,omitempty"`
	DependsOn       map[string]Dependency `yaml:"depends_on,omitempty"`
	PostStart       []Hook                `yaml:"post_start,omitempty"`
	PreStop         []Hook                `yaml:"pre_stop,omitempty"`
	StopGracePeriod string                `yaml:"stop_grace_period,omitempty"`
	Restart         string                `yaml:"restart,omitempty"`
	Labels          map[string]string     `yaml:"labels,omitempty"`
}

// Network is the connection of a service to a network.
type Network struct {
	Aliases []string `yaml:"aliases,omitempty"`
}

// Port is a port that is published on the host.
type Port struct {
	HostIP    string `yaml:"host_ip,omitempty"`
	Published string `yaml:"published"`
	Target    int32  `yaml:"target"`
	Protocol  string `yaml:"protocol,omitempty"`
}

// Mount is a mount of a volume, a folder of the host, or memory.
type Mount struct {
	Type     string        `yaml:"type"` // volume, bind or tmpfs
	Source   string        `yaml:"source,omitempty"`
	Target   string        `yaml:"target"`
	ReadOnly bool          `yaml:"read_only,omitempty"`
	Volume   *VolumeMount  `yaml:"volume,omitempty"`
	Bind     *BindMount    `yaml:"bind,omitempty"`
	Tmpfs    *TmpfsOptions `yaml:"tmpfs,omitempty"`
}

// VolumeMount are the options of a mount of a volume.
type VolumeMount struct {
	NoCopy  bool   `yaml:"nocopy,omitempty"`
	Subpath string `yaml:"subpath,omitempty"`
}

// BindMount are the options of a mount of a folder of the host.
type BindMount struct {
	CreateHostPath bool `yaml:"create_host_path"`
}

// TmpfsOptions are the options of a mount of memory.
type TmpfsOptions struct {
	Size string `yaml:"size,omitempty"`
}

// FileRef is a mount of a config or a secret.
type FileRef struct {
	Source string `yaml:"source"`
	Target string `yaml:"target"`
	Mode   string `yaml:"mode,omitempty"`
}

// Volume is a named volume.
type Volume struct {
	Driver     string            `yaml:"driver,omitempty"`
	DriverOpts map[string]string `yaml:"driver_opts,omitempty"`
}

// Config is a file with its content.
type Config struct {
	Content string `yaml:"content"`
}

// Secret is a file of the host.
type Secret struct {
	File string `yaml:"file"`
}

// Healthcheck is the check of a service.
type Healthcheck struct {
	Test          []string `yaml:"test"`
	Interval      string   `yaml:"interval,omitempty"`
	Timeout       string   `yaml:"timeout,omitempty"`
	Retries       int32    `yaml:"retries,omitempty"`
	StartPeriod   string   `yaml:"start_period,omitempty"`
	StartInterval string   `yaml:"start_interval,omitempty"`
}

// Deploy has the resources of a service.
type Deploy struct {
	Resources Resources `yaml:"resources"`
}

// Resources are limits and reservations.
type Resources struct {
	Limits       *Resource `yaml:"limits,omitempty"`
	Reservations *Resource `yaml:"reservations,omitempty"`
}

// Resource are amounts of resources.
type Resource struct {
	CPUs    string   `yaml:"cpus,omitempty"`
	Memory  string   `yaml:"memory,omitempty"`
	Devices []Device `yaml:"devices,omitempty"`
}

// Device is a number of devices, such as GPUs.
type Device struct {
	Driver       string   `yaml:"driver"`
	Count        int64    `yaml:"count"`
	Capabilities []string `yaml:"capabilities"`
}

// Dependency is a condition on another service.
type Dependency struct {
	Condition string `yaml:"condition"`
	Restart   bool   `yaml:"restart,omitempty"`
}

// Hook is a command that runs in a container.
type Hook struct {
	Command []string `yaml:"command"`
}

// Conditions of a [Dependency].
const (
	started   = "service_started"
	healthy   = "service_healthy"
	completed = "service_completed_successfully"
)

// Write writes a project as YAML, after a comment.
func (p *Project) Write(out io.Writer, comment string) error {
	if comment != "" {
		if _, err := fmt.Fprintf(out, "# %s\n", strings.ReplaceAll(strings.TrimSpace(comment), "\n", "\n# ")); err != nil {
			return err
		}
	}
	encoder := yaml.NewEncoderWithOptions(out, &yaml.EncoderOptions{SeqIndent: yaml.WideSequenceStyle})
	if err := encoder.Encode(p); err != nil {
		return err
	}
	return encoder.Close()
}

// escape returns a text in which Compose replaces no variables.
func escape(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// escapeAll escapes each text.
func escapeAll(texts []string) []string {
	escaped := make([]string, len(texts))
	for i, text := range texts {
		escaped[i] = escape(text)
	}
	return escaped
}
