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

var _ = Describe("Listed namespaces", func() {
	const own, never = "own", "never-there"
	as := func(change func(*rest.Config)) client.Client {
		GinkgoHelper()
		config := cluster.Config()
		change(config)
		reader, err := client.New(config, client.Options{Scheme: newScheme()})
		Expect(err).NotTo(HaveOccurred())
		return reader
	}
	stranger := func(c *rest.Config) { c.Impersonate.UserName = "stranger" }

	It("are left out if they are not there, or may as well be", func() {
		there := newNamespace()
		list := []string{there, never, own}
		before := slices.Clone(list)
		for _, test := range []struct {
			reader  client.Client
			present []string
			absent  map[string]func(error) bool
		}{
			{admin, []string{there, own}, map[string]func(error) bool{never: apierrors.IsNotFound}},
			{as(stranger), []string{own}, map[string]func(error) bool{never: apierrors.IsForbidden, there: apierrors.IsForbidden}},
		} {
			listed, err := controllers.FindListed(lifetime, test.reader, own, list)
			Expect(err).NotTo(HaveOccurred())
			Expect(listed.Present).To(Equal(test.present))
			Expect(listed.Absent).To(HaveLen(len(test.absent)))
			for name, is := range test.absent {
				Expect(is(listed.Absent[name])).To(BeTrue(), name)
			}
			Expect(list).To(Equal(before))
		}
	})

	It("are not asked for where there is one or all, and none is absent if that cannot be found out", func() {
		away := as(func(c *rest.Config) { c.Host = "https://127.0.0.1:1" })
		for _, namespaces := range [][]string{nil, {never}} {
			listed, err := controllers.FindListed(lifetime, away, own, namespaces)
			Expect(err).NotTo(HaveOccurred())
			Expect(listed.Present).To(Equal(namespaces))
			Expect(listed.Absent).To(BeEmpty())
		}
		_, err := controllers.FindListed(lifetime, away, own, []string{never, own})
		Expect(err).To(MatchError(ContainSubstring("get namespace " + never)))
	})
})
