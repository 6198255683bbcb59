package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/relay"
)

// operatorTimeout is how long commands that need no API server wait for its response when
// they look for an operator.
const operatorTimeout = 5 * time.Second

// schedulerOptions locate a scheduler.
type schedulerOptions struct {
	*factory
	address string
}

func (o *schedulerOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.address, "scheduler", "", "host:port of a scheduler, or unix:PATH; the default port is 9004, with TLS 9044. TLS is configured by the operator's environment variables CONTROL_PLANE_*")
}

// resolve returns the address with a port, and the TLS configuration; nil for plain text.
func (o *schedulerOptions) resolve(namespace string) (address string, _ *relay.TLS, _ error) {
	podNamespace := os.Getenv("POD_NAMESPACE")
	if podNamespace == "" {
		podNamespace = namespace
	}
	tls, err := relay.TLSFromEnvironment(os.Getenv, podNamespace)
	if err != nil {
		return "", nil, usageError(err)
	}
	address = o.address
	port := "9004"
	if tls != nil {
		port = "9044"
	}
	if strings.HasPrefix(address, "unix:") {
		return address, tls, nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), port)
	}
	host, number, err := net.SplitHostPort(address)
	if _, invalid := strconv.ParseUint(number, 10, 16); err != nil || invalid != nil || host == "" {
		return "", nil, usageError(fmt.Errorf("--scheduler=%s: must be host:port, such as localhost:9004", o.address))
	}
	return address, tls, nil
}

// checkOperator returns an error if an operator serves the namespace, which would load and
// unload the same objects. Without a kubeconfig, there is none; without a response of the API
// server, or without the permission to list Deployments, it prints a warning.
func (o *schedulerOptions) checkOperator(ctx context.Context, namespace string) error {
	if !o.hasCluster() {
		return nil
	}
	found, err := o.findOperators(ctx, namespace)
	if err == nil {
		err = errors.Join(found.Problems...)
	}
	if found != nil {
		if serving := found.Serving(namespace); serving != nil {
			return fmt.Errorf("the operator of Deployment %s serves namespace %s, and would load and unload the same objects: apply the files with kubectl instead, set -n to another namespace, or set --force if that operator uses another scheduler", serving.Deployment, namespace)
		}
	}
	if err != nil {
		o.warn("not checked whether an operator serves namespace %s: %v", namespace, err)
	}
	return nil
}

// hasCluster reports whether flags, a kubeconfig or the pod that this process runs in name an
// API server.
func (o *schedulerOptions) hasCluster() bool {
	if ptr.Deref(o.flags.APIServer, "") != "" {
		return true
	}
	raw, err := o.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil || len(raw.Clusters) > 0 {
		return true
	}
	_, err = rest.InClusterConfig()
	return err == nil
}

func (o *schedulerOptions) findOperators(ctx context.Context, namespace string) (*operator.Found, error) {
	api, err := o.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	return operator.Find(ctx, api, namespace, o.operatorNamespace)
}
