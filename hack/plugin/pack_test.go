package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

func TestWrite(t *testing.T) {
	folder := t.TempDir()
	create := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	linux, windows := create("kubectl-seldon-linux-arm64", "elf"), create("kubectl-seldon-windows-amd64.exe", "pe")
	write := func() map[string][]byte {
		o := options{
			version: "0.1.0", downloads: "https://example.com/releases", output: t.TempDir(), time: time.Unix(1e9, 0).UTC(),
			additional: []string{create("LICENSE", "free"), create("kubectl_complete-seldon", "#!/bin/sh\n")},
		}
		if err := o.write([]string{linux, windows}); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		entries, _ := os.ReadDir(o.output)
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(o.output, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[entry.Name()] = content
		}
		return files
	}
	first, second := write(), write()
	for name, content := range first {
		if !bytes.Equal(content, second[name]) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if got, want := tarred(t, first["kubectl-seldon-linux-arm64.tar.gz"]), []string{"-rwxr-xr-x kubectl-seldon elf", "-rw-r--r-- LICENSE free", "-rwxr-xr-x kubectl_complete-seldon #!/bin/sh\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := zipped(t, first["kubectl-seldon-windows-amd64.zip"]), []string{"-rwxr-xr-x kubectl-seldon.exe pe", "-rw-r--r-- LICENSE free"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	var manifest struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, Homepage, ShortDescription, Description, Caveats string
			Platforms                                                 []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
				Files            []map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(first["seldon.yaml"], &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Metadata.Name != "seldon" || manifest.Spec.Version != "v0.1.0" || len(manifest.Spec.Platforms) != 2 {
		t.Errorf("got %+v", manifest)
	}
	for i, name := range []string{"kubectl-seldon-linux-arm64.tar.gz", "kubectl-seldon-windows-amd64.zip"} {
		platform, sum := manifest.Spec.Platforms[i], sha256.Sum256(first[name])
		if platform.URI != "https://example.com/releases/v0.1.0/"+name || platform.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("got %+v for %s", platform, name)
		}
	}
	if p := manifest.Spec.Platforms[1]; p.Bin != "kubectl-seldon.exe" || p.Selector.MatchLabels["os"] != "windows" || p.Selector.MatchLabels["arch"] != "amd64" || len(p.Files) != 2 {
		t.Errorf("got %+v for Windows", p)
	}

	if err := (options{output: t.TempDir()}).write([]string{create("seldon", "")}); err == nil {
		t.Error("a binary of another name is accepted")
	}
}

// tarred returns the files of a .tar.gz as "mode name content".
func tarred(t *testing.T, content []byte) (files []string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	reader := tar.NewReader(plain)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%s is of %s", header.Name, header.ModTime)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fmt.Sprintf("%s %s %s", header.FileInfo().Mode(), header.Name, text))
	}
}

// zipped returns the files of a .zip as "mode name content".
func zipped(t *testing.T, content []byte) (files []string) {
	t.Helper()
	reader, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range reader.File {
		entry, err := each.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(entry)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fmt.Sprintf("%s %s %s", each.Mode(), each.Name, text))
	}
	return files
}
