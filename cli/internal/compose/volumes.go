package compose

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setVolumes sets the mounts of a container.
func (t *translation) setVolumes(service *Service, p *pod, c *corev1.Container, of string) error {
	var errs []error
	for _, mount := range c.VolumeMounts {
		volume, found := p.volumes[mount.Name]
		if !found {
			errs = append(errs, fmt.Errorf("%s: volumeMounts: the pod has no volume %q", of, mount.Name))
			continue
		}
		if mount.SubPathExpr != "" {
			mount.SubPath = t.expand(mount.SubPathExpr, service.Environment, of)
		}
		if err := t.mount(service, p, mount, volume, of); err != nil {
			errs = append(errs, fmt.Errorf("%s: volume %s: %w", of, mount.Name, err))
		}
	}
	if len(c.VolumeDevices) > 0 {
		t.warn("containers.volumeDevices", "block devices have no counterpart in Compose", of)
	}
	return errors.Join(errs...)
}

// mount adds a mount of a volume to a service.
func (t *translation) mount(service *Service, p *pod, mount corev1.VolumeMount, volume corev1.Volume, of string) error {
	name := p.name + "." + volume.Name
	switch source := volume.VolumeSource; {
	case source.ConfigMap != nil:
		return t.mountConfigMap(service, mount, source.ConfigMap.Name, source.ConfigMap.Items, deref(source.ConfigMap.Optional, false))
	case source.Secret != nil:
		t.mountSecret(service, mount, source.Secret.SecretName, source.Secret.Items, deref(source.Secret.Optional, false), of)
	case source.Projected != nil:
		for _, each := range source.Projected.Sources {
			switch {
			case each.ConfigMap != nil:
				if err := t.mountConfigMap(service, mount, each.ConfigMap.Name, cmpItems(each.ConfigMap.Items, t.configMaps[each.ConfigMap.Name]), deref(each.ConfigMap.Optional, false)); err != nil {
					return err
				}
			case each.Secret != nil:
				t.mountSecret(service, mount, each.Secret.Name, each.Secret.Items, deref(each.Secret.Optional, false), of)
			default:
				t.warn("volumes.projected", "only ConfigMaps and Secrets have a counterpart in Compose", p.workload.String())
			}
		}
	case source.EmptyDir != nil:
		t.mountEmptyDir(service, p, mount, source.EmptyDir, name)
	case source.PersistentVolumeClaim != nil:
		t.mountVolume(service, mount, source.PersistentVolumeClaim.ClaimName)
		if security := p.spec.SecurityContext; security != nil && security.FSGroup != nil {
			t.permissions[source.PersistentVolumeClaim.ClaimName] = fmt.Sprintf("chgrp %d VOLUME && chmod g+rwxs VOLUME", *security.FSGroup)
		}
	case source.Ephemeral != nil:
		t.mountVolume(service, mount, name)
	case source.HostPath != nil:
		service.Volumes = append(service.Volumes, Mount{
			Type: "bind", Source: escape(path.Join(source.HostPath.Path, mount.SubPath)), Target: escape(mount.MountPath), ReadOnly: mount.ReadOnly,
		})
	default:
		t.warn("volumes."+volume.Name, "this type of volume has no counterpart in Compose, and it is not mounted", p.workload.String())
	}
	if _, needs := t.permissions[p.claimOf(volume, name)]; needs {
		service.DependsOn[permissionsService] = Dependency{Condition: completed}
	}
	return nil
}

// claimOf returns the name of the volume of the Compose file.
func (p *pod) claimOf(volume corev1.Volume, name string) string {
	if claim := volume.PersistentVolumeClaim; claim != nil {
		return claim.ClaimName
	}
	return name
}

// cmpItems returns the items, or one for each key of a ConfigMap: a folder of the host can
// not be mounted over another.
func cmpItems(items []corev1.KeyToPath, configMap *corev1.ConfigMap) []corev1.KeyToPath {
	if len(items) > 0 || configMap == nil {
		return items
	}
	for _, key := range slices.Sorted(maps.Keys(configMap.Data)) {
		items = append(items, corev1.KeyToPath{Key: key, Path: key})
	}
	return items
}

// mountVolume mounts a named volume. As in Kubernetes, files of the image at the same path
// are not copied into it.
func (t *translation) mountVolume(service *Service, mount corev1.VolumeMount, name string) {
	if t.result.Project.Volumes[name] == nil {
		t.result.Project.Volumes[name] = &Volume{}
	}
	service.Volumes = append(service.Volumes, Mount{
		Type: "volume", Source: name, Target: escape(mount.MountPath), ReadOnly: mount.ReadOnly,
		Volume: &VolumeMount{NoCopy: true, Subpath: mount.SubPath},
	})
}

// mountEmptyDir mounts a volume that pods write to: memory, shared or not, or a named volume.
func (t *translation) mountEmptyDir(service *Service, p *pod, mount corev1.VolumeMount, source *corev1.EmptyDirVolumeSource, name string) {
	size := ""
	if source.SizeLimit != nil {
		size = strconv.FormatInt(source.SizeLimit.Value(), 10)
	}
	memory := source.Medium == corev1.StorageMediumMemory
	switch {
	case memory && mount.MountPath == "/dev/shm":
		service.ShmSize = size
		return
	case memory && p.mounts(mount.Name) == 1:
		service.Volumes = append(service.Volumes, Mount{Type: "tmpfs", Target: escape(mount.MountPath), ReadOnly: mount.ReadOnly, Tmpfs: &TmpfsOptions{Size: size}})
		return
	case memory:
		options := map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "mode=1777"}
		if size != "" {
			options["o"] += ",size=" + size
		}
		t.result.Project.Volumes[name] = &Volume{Driver: "local", DriverOpts: options}
	default:
		if size != "" {
			t.warn("volumes.emptyDir.sizeLimit", "volumes of Compose have no limit", p.workload.String())
		}
		t.permissions[name] = "chmod 0777 VOLUME"
	}
	t.mountVolume(service, mount, name)
}

// mounts returns the number of containers that mount a volume.
func (p *pod) mounts(volume string) int {
	count := 0
	for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) {
			count++
		}
	}
	return count
}

// file is a key of a ConfigMap or Secret at a path in a container.
type file struct{ key, target string }

// files returns the files of a mount.
func files(mount corev1.VolumeMount, keys []string, items []corev1.KeyToPath) []file {
	if len(items) == 0 {
		for _, key := range keys {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	var all []file
	for _, item := range items {
		switch {
		case mount.SubPath == "":
			all = append(all, file{item.Key, path.Join(mount.MountPath, item.Path)})
		case item.Path == mount.SubPath:
			all = append(all, file{item.Key, mount.MountPath})
		case strings.HasPrefix(item.Path, mount.SubPath+"/"):
			all = append(all, file{item.Key, path.Join(mount.MountPath, strings.TrimPrefix(item.Path, mount.SubPath))})
		}
	}
	return all
}

// mountConfigMap mounts a ConfigMap: its folder below ConfigDir, or the contents of its keys.
func (t *translation) mountConfigMap(service *Service, mount corev1.VolumeMount, name string, items []corev1.KeyToPath, optional bool) error {
	configMap := t.configMaps[name]
	if configMap == nil {
		if optional {
			return nil
		}
		return fmt.Errorf("there is no ConfigMap %q among the objects; add it", name)
	}
	keys := slices.Sorted(maps.Keys(configMap.Data))
	if t.ConfigDir != "" {
		for _, key := range keys {
			t.result.Files[path.Join("configmaps", name, key)] = configMap.Data[key]
		}
		folder := t.inDir("configmaps", name)
		if mount.SubPath == "" && len(items) == 0 {
			service.Volumes = append(service.Volumes, Mount{Type: "bind", Source: folder, Target: escape(mount.MountPath), ReadOnly: true})
			return nil
		}
		for _, each := range files(mount, keys, items) {
			service.Volumes = append(service.Volumes, Mount{Type: "bind", Source: folder + "/" + each.key, Target: escape(each.target), ReadOnly: true})
		}
		return nil
	}
	for _, each := range files(mount, keys, items) {
		config := name + "." + each.key
		t.result.Project.Configs[config] = &Config{Content: escape(configMap.Data[each.key])}
		service.Configs = append(service.Configs, FileRef{Source: config, Target: escape(each.target)})
	}
	if service.ReadOnly {
		t.warn("containers.securityContext.readOnlyRootFilesystem", "Compose cannot write the content of configs there; use --config-dir", name)
	}
	return nil
}

// inDir returns a path below ConfigDir in the form that Compose takes for a path.
func (t *translation) inDir(elements ...string) string {
	dir := t.ConfigDir
	if dir == "" {
		dir = "."
	}
	joined := path.Join(append([]string{dir}, elements...)...)
	if !strings.HasPrefix(joined, "/") && !strings.HasPrefix(joined, "../") {
		joined = "./" + joined
	}
	return escape(joined)
}

// keysOf returns the values of a Secret by key.
func keysOf(secret *corev1.Secret) map[string]string {
	values := map[string]string{}
	if secret != nil {
		for key, value := range secret.Data {
			values[key] = string(value)
		}
		maps.Copy(values, secret.StringData)
	}
	return values
}

// mountSecret mounts a Secret as files of the host.
func (t *translation) mountSecret(service *Service, mount corev1.VolumeMount, name string, items []corev1.KeyToPath, optional bool, of string) {
	secret := t.secrets[name]
	if secret == nil && optional {
		return
	}
	if secret == nil && len(items) == 0 {
		t.warn("volumes.secret", fmt.Sprintf("Secret %s is not among the objects, so its keys are not known, and it is not mounted; add it", name), of)
		return
	}
	for _, each := range files(mount, slices.Sorted(maps.Keys(keysOf(secret))), items) {
		t.secretFile(service, name, each.key, each.target)
	}
}

// secretFile mounts a key of a Secret at a path.
func (t *translation) secretFile(service *Service, name, key, target string) {
	id := name + "." + key
	service.Secrets = append(service.Secrets, FileRef{Source: id, Target: escape(target)})
	t.result.Project.Secrets[id] = &Secret{File: t.inDir("secrets", name, key)}
	if value, known := keysOf(t.secrets[name])[key]; known && t.ConfigDir != "" {
		t.result.Files[path.Join("secrets", name, key)] = value
		return
	}
	t.note("write the key %s of Secret %s to %s", key, name, t.inDir("secrets", name, key))
}

// variable returns a reference to a variable of the shell that runs Compose, which has a key
// of a Secret: values of Secrets are not in the file.
func (t *translation) variable(name, key string) string {
	variable := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name+"_"+key))
	t.note("set the variable %s to the key %s of Secret %s", variable, key, name)
	return fmt.Sprintf("${%s:?the key %s of Secret %s}", variable, key, name)
}
