// Command image makes the operator's container image of programs that are built
// already, one for each platform, without a container engine and without a base
// image: the program is static, reads what it needs from the API server, and
// runs as a user that needs no name.
//
// It writes an OCI image layout as a tar archive, and beside it, for each
// program, what the program is made of as SPDX. Whatever it writes follows from
// the programs alone: the same programs give the same bytes.
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
	output := flag.String("output", "", "archive to write; the bills of materials go into its directory")
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

// write makes the archive and the bills of materials.
func write(name, version, output string, paths []string) error {
	var programs []program
	for _, path := range paths {
		p, err := readProgram(path)
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	images, err := imagesOf(programs, version)
	if err != nil {
		return err
	}
	for i, p := range programs {
		path := filepath.Join(filepath.Dir(output), filepath.Base(p.path)+".spdx.json")
		if err := writeBill(path, p, images[i], version); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	index := indexOf(programs, images, version)
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
