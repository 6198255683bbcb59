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

// startTimeout bounds a whole start. It takes about five seconds on two idle
// processors, and far longer only where something is wrong.
const startTimeout = 3 * time.Minute

//go:embed kwok.yaml
var kwokConfiguration []byte

// Options say what to start. The zero value starts everything, with one node,
// in a temporary directory.
type Options struct {
	// Directory holds the programs' logs, certificates, kubeconfigs and state. It
	// is made if missing and kept by Stop; what an earlier control plane left in
	// it is overwritten, and one that still runs in it is an error. Empty means a
	// temporary directory, which Stop removes and a failed Start keeps.
	Directory string
	// Nodes is the number of simulated nodes, named node-0 and so on. Zero means
	// one.
	Nodes int
	// APIServerOnly leaves out everything but etcd and the API server: there is
	// no garbage collection, namespaces never finish deleting, service accounts
	// and pods are not made, claims stay unbound.
	APIServerOnly bool
	// APIServerFlags are added to the API server's flags as they are, for
	// example "--audit-log-path=/tmp/audit.log". They win over ours.
	APIServerFlags []string
	// CRDs are files and directories with CustomResourceDefinitions, installed
	// and served before Start returns.
	CRDs []string
}

// ControlPlane is a running control plane. Its methods may be called from any
// number of goroutines.
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

	// lifetime ends when the control plane stops; so does what is in background.
	lifetime   context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	// processes are in the order of their start.
	processes []*process
	// broken is closed when a program ends by itself.
	broken    chan struct{}
	breaking  sync.Once
	stop      sync.Once
	stopError error
}

// Start starts a control plane and returns once it works: the API server is
// ready, the CRDs are served, and, unless Options.APIServerOnly, the nodes are
// Ready and the namespace "default" has its service account.
//
// The context bounds the control plane's whole life, not only its start: when
// it ends, everything stops as if Stop had been called. An error quotes the last
// lines of the log of the program that is to blame.
func Start(ctx context.Context, opts Options) (_ *ControlPlane, err error) {
	cp := &ControlPlane{broken: make(chan struct{})}
	cp.lifetime, cp.end = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			// The logs explain the error, and what Stop says would repeat it.
			cp.temporary = false
			_ = cp.Stop()
			err = fmt.Errorf("start the control plane: %w", err)
		}
	}()
	if err := cp.prepare(opts); err != nil {
		return nil, err
	}
	starting, done := context.WithTimeout(cp.lifetime, startTimeout)
	defer done()
	if err := cp.startAPIServer(starting, opts); err != nil {
		return nil, err
	}
	if !opts.APIServerOnly {
		if err := cp.startWorkloads(starting, opts); err != nil {
			return nil, err
		}
	}
	context.AfterFunc(ctx, func() { _ = cp.Stop() })
	return cp, nil
}

// Stop ends every program, gives back the ports and removes the directory if it
// was a temporary one. When it returns, no process is left. It returns an error
// if a program had ended before it was asked to, with the end of its log; tests
// should fail on that. Calling Stop again returns the same result.
func (cp *ControlPlane) Stop() error {
	cp.stop.Do(func() {
		var errs []error
		for _, p := range cp.processes {
			if p.hasEnded() {
				errs = append(errs, p.exitError())
			}
		}
		cp.end()
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

// Broken returns a channel that is closed when a program ends although nobody
// stopped it. Stop then tells which one, and why.
func (cp *ControlPlane) Broken() <-chan struct{} { return cp.broken }

// Directory returns the absolute path of the directory with the programs' logs,
// certificates and kubeconfigs.
func (cp *ControlPlane) Directory() string { return string(cp.files) }

// Config returns the configuration of a client that may do everything (a member
// of system:masters). The caller may change it. Like that of every user, it sets
// no limit on the client's side: requests per second are the API server's matter.
func (cp *ControlPlane) Config() *rest.Config { return rest.CopyConfig(cp.admin) }

// Kubeconfig returns the content of the kubeconfig file for Config.
func (cp *ControlPlane) Kubeconfig() []byte { return append([]byte(nil), cp.adminFile...) }

// KubeconfigPath returns the absolute path of the file with that content.
func (cp *ControlPlane) KubeconfigPath() string { return cp.files.kubeconfig(adminUser) }

// User returns a client's configuration and a kubeconfig file's content that log
// in by certificate as the named user and member of the groups. A user has no
// rights but those that RBAC objects give to the name or to a group.
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

// prepare claims the directory and ports and writes the certificates and
// kubeconfigs. Nothing runs yet.
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

// startAPIServer starts etcd and the API server and installs the CRDs: before the
// controllers start, because the garbage collector looks for new kinds only every
// half minute and collects nothing of theirs until then.
func (cp *ControlPlane) startAPIServer(ctx context.Context, opts Options) error {
	if err := cp.run(binaries.Etcd, etcdArguments(cp.files, cp.etcd, cp.etcdPeer)...); err != nil {
		return err
	}
	// The API server waits for etcd by itself.
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

// run starts a program and remembers it for Stop.
func (cp *ControlPlane) run(name string, arguments ...string) error {
	// kwok reads its owner's configuration if there is one: ours shall be all.
	environment := []string{"KWOK_WORKDIR=" + string(cp.files)}
	p, err := startProcess(cp.binaries, string(cp.files), name, environment, arguments...)
	if err != nil {
		return err
	}
	cp.processes = append(cp.processes, p)
	cp.background.Go(func() {
		select {
		case <-p.ended:
			cp.breaking.Do(func() { close(cp.broken) })
		case <-cp.lifetime.Done():
		}
	})
	return nil
}

// await polls until check returns nil. It gives up when the context ends or a
// program does; the error then says what was waited for and quotes the log of
// the program that ended, or else of the one that was to bring the thing about.
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
