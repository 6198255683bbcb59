package controllers_test

import (
	"context"
	"fmt"
	"runtime"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

var _ = Describe("The state in memory", ownOperator, func() {
	It("is released when owners are deleted, in whatever way", func() {
		namespace := newNamespace()
		config := cluster.Config()
		config.QPS = -1
		mgr, err := manager.New(config, manager.Options{
			Scheme: newScheme(), Cache: controllers.CacheOptions(operatorNamespace, []string{namespace}), Metrics: metricsserver.Options{BindAddress: "0"},
		})
		Expect(err).NotTo(HaveOccurred())
		ctx, cancel := context.WithCancel(lifetime)
		defer cancel()
		reconcilers, err := controllers.NewReconcilers(ctx, mgr, controllers.Options{Namespace: operatorNamespace, SchedulerAddress: schedulerAddress("{namespace}")})
		Expect(err).NotTo(HaveOccurred())
		go func() {
			defer GinkgoRecover()
			Expect(mgr.Start(ctx)).To(Succeed())
		}()
		Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
		reconcileOnce := func(reconciler reconcile.Reconciler, object client.Object) {
			GinkgoHelper()
			_, err := reconciler.Reconcile(ctx, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
			Expect(err).NotTo(HaveOccurred())
		}
		seen := func(object client.Object) func() bool {
			return func() bool { return mgr.GetClient().Get(ctx, client.ObjectKeyFromObject(object), object) == nil }
		}
		heap := func() int {
			runtime.GC()
			memory := runtime.MemStats{}
			runtime.ReadMemStats(&memory)
			return int(memory.HeapAlloc >> 10)
		}
		createAndDelete := func(number int) {
			GinkgoHelper()
			var servers []*v1alpha1.Server
			for i := range number {
				servers = append(servers, newServer(namespace, fmt.Sprintf("server-%d", i), "mlserver", replicas(0)))
			}
			for _, server := range servers {
				Eventually(seen(server)).Should(BeTrue())
				reconcileOnce(reconcilers.Servers, server)
				Expect(exists(namespace, server.Name, &appsv1.StatefulSet{})()).To(BeTrue())
			}
			Expect(reconcilers.Remembered()["owners"]).To(Equal(number))
			for _, server := range servers {
				Expect(admin.Delete(ctx, server)).To(Succeed())
				Eventually(seen(server)).Should(BeFalse())
				reconcileOnce(reconcilers.Servers, server)
			}
		}
		nothing := map[string]int{"owners": 0, "objects": 0}
		createAndDelete(100) // compiled variants are kept, by name, up to a bound
		Expect(reconcilers.Remembered()).To(Equal(nothing))
		before := heap()
		createAndDelete(100)
		Expect(reconcilers.Remembered()).To(Equal(nothing))
		Eventually(func() []string { return namesOf(&appsv1.StatefulSetList{}, namespace) }).WithTimeout(time.Minute).Should(BeEmpty())
		after := heap()
		reportMetric("heap before 100 Servers with children, in KiB", before)
		reportMetric("heap after they were deleted, in KiB", after)
		Expect(after).To(BeNumerically("<", before+2<<10))

		By("removing the finalizer of a runtime by another client")
		owner := newRuntime(namespace)
		Eventually(seen(owner)).Should(BeTrue())
		reconcileOnce(reconcilers.Runtimes, owner)
		Expect(reconcilers.Remembered()["owners"]).To(Equal(1))
		edit(owner, func(r *v1alpha1.SeldonRuntime) { r.Finalizers = nil })
		Expect(admin.Delete(ctx, owner)).To(Succeed())
		Eventually(seen(owner)).Should(BeFalse())
		reconcileOnce(reconcilers.Runtimes, owner)
		Expect(reconcilers.Remembered()).To(Equal(nothing))
	})
})
