package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

// startTimeout is the timeout of a whole start, which takes about five seconds on two
// idle processors.
const startTimeout = 3 * time.Minute

// gcPercent is GOGC of the programs. With the default, garbage collections take a tenth of
// the CPU time of a start.
const gcPercent = "400"

//go:embed kwok.yaml
var kwokConfiguration []byte

// Options configure the control plane. The zero value starts everything, with one node,
// in a temporary directory.
type Options struct {
	// Directory is for logs, certificates, kubeconfigs and state. It is created if
	// missing, and not removed by Stop. Files of an earlier control plane are
	// overwritten; one that still runs in it is an error. Empty means a temporary
	// directory, which Stop removes and a failed Start keeps.
	Directory string
	// Nodes is the number of simulated nodes, named node-0 and so on. Zero means
	// one.
	Nodes int
	// APIServerOnly starts only etcd and the API server: there is no garbage collection,
	// namespaces stay terminating, service accounts and pods are not created, and claims
	// stay unbound.
	APIServerOnly bool
	// APIServerFlags are appended to the API server's flags, and take precedence. An
	// example is "--audit-log-path=/tmp/audit.log".
	APIServerFlags []string
	// CRDs are files and directories with CustomResourceDefinitions, installed
	// and served before Start returns.
	CRDs []string
	// BeforeControllers, if set, is called once the API server is ready and the CRDs are
	// served. The garbage collector knows the kinds that it defines at once, and later
	// ones only after 30 seconds. Of the control plane, it may use the configurations.
	BeforeControllers func(*ControlPlane) error
}

// ControlPlane is a running control plane. Its methods are safe for concurrent use.
type ControlPlane struct {
	files     layout
	lock      *os.File
	temporary bool
	binaries  string
	authority *authority
	etcd      *reservedPort
	etcdPeer  *reservedPort
	serving   *reservedPort
	admin     *rest.Config
	adminFile []byte

	// ctx is cancelled when the control plane stops, which ends the goroutines in
	// background.
	ctx        context.Context
	cancel     context.CancelFunc
	background sync.WaitGroup

	// processes are the programs, in the order of their start.
	processes []*program
	// broken is closed, by breakOnce, when a program exits by itself.
	broken    chan struct{}
	breakOnce sync.Once
	stopOnce  sync.Once
	stopError error
}

// Start starts a control plane and returns once it is ready: the API server is
// ready, the CRDs are served, and, unless Options.APIServerOnly, the nodes are
// Ready and the namespace "default" has its service account.
//
// The control plane stops, as by Stop, when the context is cancelled, also after the
// start. An error has the last lines of the log of the program that failed.
func Start(ctx context.Context, opts Options) (_ *ControlPlane, err error) {
	cp := &ControlPlane{broken: make(chan struct{})}
	cp.ctx, cp.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			// Keep the logs. The error of Stop would only repeat this one.
			cp.temporary = false
			_ = cp.Stop()
			err = fmt.Errorf("start the control plane: %w", err)
		}
	}()
	if err := cp.prepare(opts); err != nil {
		return nil, err
	}
	starting, done := context.WithTimeout(cp.ctx, startTimeout)
	defer done()
	if err := cp.startAPIServer(starting, opts); err != nil {
		return nil, err
	}
	if opts.BeforeControllers != nil {
		if err := opts.BeforeControllers(cp); err != nil {
			return nil, err
		}
	}
	if !opts.APIServerOnly {
		if err := cp.startWorkloads(starting, opts); err != nil {
			return nil, err
		}
	}
	context.AfterFunc(ctx, func() { _ = cp.Stop() })
	return cp, nil
}

// Stop kills every program, releases the ports and removes a temporary directory. It
// returns when no process is left. If a program had exited by itself before, it returns
// an error with the end of its log; tests should fail on that. Further calls return the
// same result.
func (cp *ControlPlane) Stop() error {
	cp.stopOnce.Do(func() {
		var errs []error
		for _, p := range cp.processes {
			if p.hasEnded() {
				errs = append(errs, p.exitError())
			}
		}
		cp.cancel()
		cp.background.Wait()
		for _, p := range slices.Backward(cp.processes) {
			p.kill()
		}
		for _, port := range []*reservedPort{cp.etcd, cp.etcdPeer, cp.serving} {
			if port != nil {
				errs = append(errs, port.release())
			}
		}
		if cp.temporary {
			errs = append(errs, os.RemoveAll(string(cp.files)))
		}
		if cp.lock != nil {
			errs = append(errs, cp.lock.Close())
		}
		cp.stopError = errors.Join(errs...)
	})
	return cp.stopError
}

// Broken returns a channel that is closed when a program exits by itself. The error of
// Stop then has its name and the reason.
func (cp *ControlPlane) Broken() <-chan struct{} { return cp.broken }

// Directory returns the absolute path of the directory with the programs' logs,
// certificates and kubeconfigs.
func (cp *ControlPlane) Directory() string { return string(cp.files) }

// Config returns a new client configuration of an administrator (a member of
// system:masters). Like that of every user, it has no client-side rate limit.
func (cp *ControlPlane) Config() *rest.Config { return rest.CopyConfig(cp.admin) }

// Kubeconfig returns the content of the kubeconfig file for Config.
func (cp *ControlPlane) Kubeconfig() []byte { return append([]byte(nil), cp.adminFile...) }

// KubeconfigPath returns the absolute path of the file with that content.
func (cp *ControlPlane) KubeconfigPath() string { return cp.files.kubeconfig(adminUser) }

// User returns a client configuration and the content of a kubeconfig file that
// authenticate by certificate as a user and member of groups. A user has only the
// permissions that RBAC objects grant to the name or to a group.
func (cp *ControlPlane) User(name string, groups ...string) (*rest.Config, []byte, error) {
	certificate, key, err := cp.authority.forUser(name, groups...)
	if err != nil {
		return nil, nil, err
	}
	bundle, err := cp.authority.bundle()
	if err != nil {
		return nil, nil, err
	}
	config := &rest.Config{
		Host:            "https://" + cp.serving.hostPort(),
		TLSClientConfig: rest.TLSClientConfig{CAData: bundle, CertData: certificate, KeyData: key},
		// Zero would mean five requests a second.
		QPS: -1,
	}
	kubeconfig, err := kubeconfigOf(name, config)
	if err != nil {
		return nil, nil, fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return config, kubeconfig, nil
}

// prepare locks the directory, reserves ports and writes certificates and kubeconfigs.
func (cp *ControlPlane) prepare(opts Options) (err error) {
	if cp.binaries, err = binaries.Directory(); err != nil {
		return err
	}
	for _, path := range opts.CRDs {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("install the CRDs: %w", err)
		}
	}
	directory := opts.Directory
	if directory == "" {
		if directory, err = os.MkdirTemp("", "controlplane-"); err != nil {
			return err
		}
		cp.temporary = true
	}
	if cp.files, cp.lock, err = claimDirectory(directory); err != nil {
		return err
	}
	for _, port := range []**reservedPort{&cp.etcd, &cp.etcdPeer, &cp.serving} {
		if *port, err = reservePort(); err != nil {
			return err
		}
	}
	if cp.authority, err = newAuthority(); err != nil {
		return err
	}
	if err := cp.writeCertificates(); err != nil {
		return err
	}
	return cp.writeKubeconfigs()
}

func (cp *ControlPlane) writeCertificates() error {
	bundle, err := cp.authority.bundle()
	if err != nil {
		return err
	}
	certificate, key, err := cp.authority.forServer()
	if err != nil {
		return err
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serviceAccounts, err := keyutil.MarshalPrivateKeyToPEM(signer)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(cp.files.authority(), bundle, 0o600),
		os.WriteFile(cp.files.servingCertificate(), certificate, 0o600),
		os.WriteFile(cp.files.servingKey(), key, 0o600),
		os.WriteFile(cp.files.serviceAccountKey(), serviceAccounts, 0o600),
	)
}

func (cp *ControlPlane) writeKubeconfigs() (err error) {
	if cp.admin, cp.adminFile, err = cp.User(adminUser, "system:masters"); err != nil {
		return err
	}
	if err := os.WriteFile(cp.files.kubeconfig(adminUser), cp.adminFile, 0o600); err != nil {
		return err
	}
	for user, groups := range map[string][]string{
		controllerManagerUser: {"system:masters"},
		schedulerUser:         nil, // the API server has RBAC rules for this name
		kwokUser:              {"system:masters"},
	} {
		_, kubeconfig, err := cp.User(user, groups...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(cp.files.kubeconfig(user), kubeconfig, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startAPIServer starts etcd and the API server, and installs the CRDs. That is before
// the controllers start, because the garbage collector looks for new kinds only every 30
// seconds.
func (cp *ControlPlane) startAPIServer(ctx context.Context, opts Options) error {
	if err := cp.run(binaries.Etcd, etcdArguments(cp.files, cp.etcd, cp.etcdPeer)...); err != nil {
		return err
	}
	// The API server itself waits for etcd.
	arguments := apiServerArguments(cp.files, cp.etcd, cp.serving, opts.APIServerFlags)
	if err := cp.run(binaries.APIServer, arguments...); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cp.admin)
	if err != nil {
		return err
	}
	err = cp.await(ctx, binaries.APIServer, "the API server to be ready", func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	if len(opts.CRDs) == 0 {
		return nil
	}
	_, err = envtest.InstallCRDs(cp.Config(), envtest.CRDInstallOptions{
		Paths: opts.CRDs, MaxTime: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("install the CRDs: %w", err)
	}
	return nil
}

// run starts a program and adds it to processes.
func (cp *ControlPlane) run(name string, arguments ...string) error {
	// kwok would also read the user's configuration from its default directory.
	environment := []string{"KWOK_WORKDIR=" + string(cp.files)}
	if os.Getenv("GOGC") == "" {
		environment = append(environment, "GOGC="+gcPercent)
	}
	p, err := startProgram(cp.binaries, string(cp.files), name, environment, arguments...)
	if err != nil {
		return err
	}
	cp.processes = append(cp.processes, p)
	cp.background.Go(func() {
		select {
		case <-p.ended:
			cp.breakOnce.Do(func() { close(cp.broken) })
		case <-cp.ctx.Done():
		}
	})
	return nil
}

// await polls until check returns nil. It fails when the context is cancelled or a
// program exits. The error has the subject of the wait, and the end of the log of the
// program that exited, or else of the given one.
func (cp *ControlPlane) await(ctx context.Context, program, what string, check func(context.Context) error) error {
	const interval = 25 * time.Millisecond
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, p := range cp.processes {
			if p.hasEnded() {
				return fmt.Errorf("wait for %s: %w", what, p.exitError())
			}
		}
		select {
		case <-ctx.Done():
			err = fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
			for _, p := range cp.processes {
				if p.name == program {
					err = fmt.Errorf("%w; %s", err, p.quoteLog())
				}
			}
			return err
		case <-time.After(interval):
		}
	}
}
