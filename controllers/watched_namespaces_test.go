package controllers_test

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/controllers"
)

var _ = Describe("Watched namespaces", func() {
	const own, never = "own", "nonexistent"
	as := func(change func(*rest.Config)) client.Client {
		GinkgoHelper()
		config := cluster.Config()
		change(config)
		reader, err := client.New(config, client.Options{Scheme: newScheme()})
		Expect(err).NotTo(HaveOccurred())
		return reader
	}
	unprivileged := func(c *rest.Config) { c.Impersonate.UserName = "unprivileged" }

	It("do not include those that do not exist or that the operator may not read", func() {
		existing := newNamespace()
		list := []string{existing, never, own}
		before := slices.Clone(list)
		for _, test := range []struct {
			reader      client.Client
			available   []string
			unavailable map[string]func(error) bool
		}{
			{admin, []string{existing, own}, map[string]func(error) bool{never: apierrors.IsNotFound}},
			{as(unprivileged), []string{own}, map[string]func(error) bool{never: apierrors.IsForbidden, existing: apierrors.IsForbidden}},
		} {
			watched, err := controllers.ResolveNamespaces(lifetime, test.reader, own, list)
			Expect(err).NotTo(HaveOccurred())
			Expect(watched.Available).To(Equal(test.available))
			Expect(watched.Unavailable).To(HaveLen(len(test.unavailable)))
			for name, is := range test.unavailable {
				Expect(is(watched.Unavailable[name])).To(BeTrue(), name)
			}
			Expect(list).To(Equal(before))
		}
	})

	It("are not read if there is one or all, and an error to read one is returned", func() {
		unreachable := as(func(c *rest.Config) { c.Host = "https://127.0.0.1:1" })
		for _, namespaces := range [][]string{nil, {never}} {
			watched, err := controllers.ResolveNamespaces(lifetime, unreachable, own, namespaces)
			Expect(err).NotTo(HaveOccurred())
			Expect(watched.Available).To(Equal(namespaces))
			Expect(watched.Unavailable).To(BeEmpty())
		}
		_, err := controllers.ResolveNamespaces(lifetime, unreachable, own, []string{never, own})
		Expect(err).To(MatchError(ContainSubstring("get namespace " + never)))
	})
})
