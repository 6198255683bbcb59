package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// options are the settings of one run.
type options struct {
	version, downloads, output string
	// time of the files in the archives.
	time time.Time
	// additional are files that each archive has beside the binary.
	additional []string
}

// file is a file of an archive.
type file struct {
	name    string
	mode    os.FileMode
	content []byte
}

// archive is a packed binary.
type archive struct {
	name, os, arch, sha256 string
	files                  []file
}

// write packs binaries and writes the manifest.
func (o options) write(binaries []string) error {
	var archives []archive
	for _, path := range binaries {
		a, err := o.pack(path)
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		archives = append(archives, a)
	}
	text, err := o.manifest(archives)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.output, pluginName+".yaml"), text, 0o644)
}

// pack writes the archive of a binary.
func (o options) pack(path string) (archive, error) {
	base, windows := strings.CutSuffix(filepath.Base(path), ".exe")
	parts := strings.Split(strings.TrimPrefix(base, binaryName+"-"), "-")
	if len(parts) != 2 || !strings.HasPrefix(base, binaryName+"-") {
		return archive{}, fmt.Errorf("the name is not %s-OS-ARCH", binaryName)
	}
	a := archive{name: base + ".tar.gz", os: parts[0], arch: parts[1]}
	program := binaryName
	if windows {
		a.name, program = base+".zip", binaryName+".exe"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return archive{}, err
	}
	a.files = []file{{program, 0o755, content}}
	for _, path := range o.additional {
		content, err := os.ReadFile(path)
		if err != nil {
			return archive{}, err
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			if windows {
				continue // Windows does not run scripts of a shell.
			}
			mode = 0o755
		}
		a.files = append(a.files, file{filepath.Base(path), mode, content})
	}
	buffer := bytes.Buffer{}
	write := o.writeTar
	if windows {
		write = o.writeZip
	}
	if err := write(&buffer, a.files); err != nil {
		return archive{}, err
	}
	sum := sha256.Sum256(buffer.Bytes())
	a.sha256 = hex.EncodeToString(sum[:])
	return a, os.WriteFile(filepath.Join(o.output, a.name), buffer.Bytes(), 0o644)
}

func (o options) writeTar(to io.Writer, files []file) error {
	compressed, err := gzip.NewWriterLevel(to, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	writer := tar.NewWriter(compressed)
	for _, f := range files {
		if err := writer.WriteHeader(&tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: o.time, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := writer.Write(f.content); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

func (o options) writeZip(to io.Writer, files []file) error {
	writer := zip.NewWriter(to)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: o.time}
		header.SetMode(f.mode)
		entry, err := writer.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return writer.Close()
}
