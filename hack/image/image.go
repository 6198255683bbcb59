package main

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// entrypoint is the path of the program in the image. Manifests and charts use the same.
const entrypoint = "/manager"

// user is numeric, since Kubernetes cannot check runAsNonRoot for a name.
const user = "65532:65532"

// labels returns the labels in the configuration of each image, which are also the
// annotations of its manifest and of the index.
func labels(p program, version string) map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title":       "Seldon operator",
		"org.opencontainers.image.description": "Kubernetes operator for Seldon Core 2",
		"org.opencontainers.image.source":      "https://" + p.info.Main.Path,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.created":     p.created.Format("2006-01-02T15:04:05Z07:00"),
	}
	if p.commit != "" {
		all["org.opencontainers.image.revision"] = p.commit
	}
	return all
}

// imagesOf returns the images of the platforms, in their order.
func imagesOf(platforms [][]program, version string) ([]v1.Image, error) {
	var images []v1.Image
	for _, programs := range platforms {
		image, err := imageOf(programs, version)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// imageOf returns an image with one layer, which has the programs of a platform only.
func imageOf(programs []program, version string) (v1.Image, error) {
	p := programs[0]
	content, err := layerOf(programs)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: p.created}
	image, err := mutate.Append(base, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: created, CreatedBy: "hack/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = created
	config.OS, config.Architecture = p.platform.OS, p.platform.Architecture
	config.Config = v1.Config{User: user, Entrypoint: []string{entrypoint}, WorkingDir: "/", Labels: labels(p, version)}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, labels(p, version)).(v1.Image), nil
}

// layerOf returns the layer as an uncompressed tar archive.
func layerOf(programs []program) ([]byte, error) {
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, p := range programs {
		content, err := os.ReadFile(p.path)
		if err != nil {
			return nil, err
		}
		header := tar.Header{Name: p.name(), Mode: 0o755, Size: int64(len(content)), ModTime: p.created}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(content); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return layer.Bytes(), err
}

// indexOf returns the image index for all platforms.
func indexOf(platforms [][]program, images []v1.Image, version string) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, programs := range platforms {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[i], Descriptor: v1.Descriptor{Platform: &programs[0].platform}})
	}
	return mutate.Annotations(index, labels(platforms[0][0], version)).(v1.ImageIndex)
}

// writeArchive writes an OCI image layout with the index as a tar archive. The
// annotations have the names by which skopeo and podman (a tag) and containerd and
// Docker (a full name) find an image in an archive.
func writeArchive(path string, index v1.ImageIndex, name, version string) error {
	directory, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	to, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	err = to.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          name + ":" + version,
	}))
	if err != nil {
		return err
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	// Reproducible: sorted by name, and without times, owners and directories.
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: filepath.ToSlash(relative), Mode: 0o644, Size: int64(len(file))}); err != nil {
			return err
		}
		_, err = archive.Write(file)
		return err
	})
	if err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, content.Bytes(), 0o644)
}
