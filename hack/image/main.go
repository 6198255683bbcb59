// Command image creates the operator's container image from binaries, the same for each
// platform, without a container engine and without a base image: the binaries are
// static, need no files, and run as a user without a name.
//
// It writes an OCI image layout as a tar archive, and in the same directory an SPDX
// bill of materials for each platform. The first binary of a platform is the image's
// entrypoint; the others are beside it. The output is reproducible: it is identical for
// identical binaries.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	name := flag.String("name", "", "repository of the image, such as docker.io/me/operator")
	version := flag.String("version", "", "version of the programs, and tag of the image")
	output := flag.String("output", "", "archive to write; the SBOMs are written to its directory")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(flag.CommandLine.Output(), "Usage: image --name NAME --version VERSION --output FILE PROGRAM...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *name == "" || *version == "" || *output == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*name, *version, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// write writes the archive and the bills of materials.
func write(name, version, output string, paths []string) error {
	contents, err := readPrograms(paths)
	if err != nil {
		return err
	}
	images, err := imagesOf(contents, version)
	if err != nil {
		return err
	}
	for i, programs := range contents {
		path := filepath.Join(filepath.Dir(output), filepath.Base(programs[0].path)+".spdx.json")
		if err := writeSBOM(path, programs, images[i], version); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	index := indexOf(contents, images, version)
	if err := writeArchive(output, index, name, version); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s:%s@%s\n", name, version, digest)
	return nil
}
