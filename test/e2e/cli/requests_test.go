package cli

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// requestsOf returns the requests that an action sends to the API server, sorted, as method
// path, and "watch" or "dry-run". The action gets the kubeconfig of a proxy, which calls the
// functions of change with each request before it is sent.
func requestsOf(action func(kubeconfig string), change ...func(line string, request *http.Request)) []string {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	target, err := url.Parse(config.Host)
	Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(config)
	Expect(err).NotTo(HaveOccurred())
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	var mu sync.Mutex
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		line := request.Method + " " + request.URL.Path
		if request.URL.Query().Has("dryRun") {
			line += " dry-run"
		}
		if request.URL.Query().Has("watch") {
			line += " watch"
		}
		mu.Lock()
		sent = append(sent, line)
		for _, each := range change {
			each(line, request)
		}
		mu.Unlock()
		proxy.ServeHTTP(response, request)
	}))
	defer server.Close()
	proxied := clientcmdapi.NewConfig()
	proxied.Clusters["proxy"] = &clientcmdapi.Cluster{Server: server.URL}
	proxied.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	proxied.CurrentContext = "proxy"
	file := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(clientcmd.WriteToFile(*proxied, file)).To(Succeed())
	action(file)
	slices.Sort(sent)
	return sent
}

// expectOnce expects that nothing is requested twice.
func expectOnce(requests []string) {
	GinkgoHelper()
	Expect(slices.Compact(slices.Clone(requests))).To(Equal(requests))
}

// writesOf returns the requests that are no reads.
func writesOf(requests []string) []string {
	return slices.DeleteFunc(slices.Clone(requests), func(line string) bool { return strings.HasPrefix(line, "GET ") })
}
