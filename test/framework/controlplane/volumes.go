package controlplane

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// StorageClass is the name of the default StorageClass. It binds claims immediately,
	// allows expansion, and deletes a volume with its claim.
	StorageClass = "standard"
	// volumeDriver is the provisioner of the volumes. To kube-controller-manager it is an
	// external one, whose volumes it binds to claims but neither creates nor deletes.
	volumeDriver = "volumes.controlplane.local"
	// provisionedBy is the annotation with the provisioner of a volume.
	provisionedBy = "pv.kubernetes.io/provisioned-by"

	volumeWorkers = 4
)

// provisioner creates, resizes and deletes the PersistentVolume of each claim, like the
// external provisioner and resizer of a real cluster. It serves claims of any class,
// existing or not. kube-controller-manager binds and protects the volumes.
type provisioner struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	// queue has claims as namespace/name and volumes as name.
	queue workqueue.TypedRateLimitingInterface[string]
}

// startVolumes creates the default StorageClass and starts the provisioner, which runs
// until the control plane stops.
func (cp *ControlPlane) startVolumes(ctx context.Context, clients kubernetes.Interface) error {
	expandable, reclaim := true, corev1.PersistentVolumeReclaimDelete
	binding := storagev1.VolumeBindingImmediate
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        StorageClass,
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner:          volumeDriver,
		AllowVolumeExpansion: &expandable,
		ReclaimPolicy:        &reclaim,
		VolumeBindingMode:    &binding,
	}
	if _, err := clients.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create storage class %s: %w", StorageClass, err)
	}

	factory := informers.NewSharedInformerFactory(clients, 0)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	p := &provisioner{
		client:  clients,
		claims:  claims.Lister(),
		volumes: volumes.Lister(),
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	if _, err := claims.Informer().AddEventHandler(handleAll(p.enqueue)); err != nil {
		return err
	}
	if _, err := volumes.Informer().AddEventHandler(handleAll(p.enqueue)); err != nil {
		return err
	}
	factory.Start(cp.ctx.Done())
	factory.WaitForCacheSync(cp.ctx.Done())
	for range volumeWorkers {
		cp.background.Go(func() { p.work(cp.ctx) })
	}
	cp.background.Go(func() {
		<-cp.ctx.Done()
		p.queue.ShutDown()
		factory.Shutdown()
	})
	return nil
}

// handleAll calls handle with the object of every event.
func handleAll(handle func(object any)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, object any) { handle(object) },
		DeleteFunc: handle,
	}
}

func (p *provisioner) enqueue(object any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
		p.queue.Add(key)
	}
}

// isProvisioned returns whether this provisioner created the volume.
func isProvisioned(volume *corev1.PersistentVolume) bool {
	return volume.Annotations[provisionedBy] == volumeDriver
}

func (p *provisioner) work(ctx context.Context) {
	for {
		key, shutdown := p.queue.Get()
		if shutdown {
			return
		}
		if err := p.reconcile(ctx, key); err != nil {
			p.queue.AddRateLimited(key)
		} else {
			p.queue.Forget(key)
		}
		p.queue.Done(key)
	}
}

func (p *provisioner) reconcile(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	if namespace == "" {
		volume, err := p.volumes.Get(name)
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		return p.deleteReleased(ctx, volume)
	}
	claim, err := p.claims.PersistentVolumeClaims(namespace).Get(name)
	switch {
	case err != nil:
		return client.IgnoreNotFound(err)
	case claim.DeletionTimestamp != nil:
		return nil
	case claim.Spec.VolumeName == "":
		return p.create(ctx, claim)
	case claim.Status.Phase == corev1.ClaimBound:
		return p.expand(ctx, claim)
	}
	return nil
}

// create creates a volume with a reference to the claim. kube-controller-manager then
// binds the two.
func (p *provisioner) create(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class := ""
	if claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "pvc-" + string(claim.UID),
			Annotations: map[string]string{provisionedBy: volumeDriver},
		},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: requested(claim)},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              class,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: volumeDriver, VolumeHandle: string(claim.UID)},
			},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	return client.IgnoreAlreadyExists(err)
}

// expand resizes a bound claim to the requested size: first its volume's capacity, then
// its own, as a resizer does. The API server has already checked that the class allows
// expansion. A smaller size is ignored.
func (p *provisioner) expand(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	desired, current := requested(claim), claim.Status.Capacity[corev1.ResourceStorage]
	if desired.Cmp(current) <= 0 {
		return nil
	}
	volume, err := p.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return err
	}
	if !isProvisioned(volume) {
		return nil
	}
	capacity, err := json.Marshal(corev1.ResourceList{corev1.ResourceStorage: desired})
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"capacity":%s}}`, capacity)
	_, err = p.client.CoreV1().PersistentVolumes().
		Patch(ctx, volume.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	patch = fmt.Appendf(nil, `{"status":{"capacity":%s}}`, capacity)
	_, err = p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).
		Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// deleteReleased deletes a volume whose claim was deleted, if this provisioner created
// it.
func (p *provisioner) deleteReleased(ctx context.Context, volume *corev1.PersistentVolume) error {
	if !isProvisioned(volume) || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	return client.IgnoreNotFound(p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}))
}

// requested returns the requested size of a claim.
func requested(claim *corev1.PersistentVolumeClaim) resource.Quantity {
	return claim.Spec.Resources.Requests[corev1.ResourceStorage]
}
