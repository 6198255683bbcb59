// Command plugin packs the binaries of the kubectl plugin, one for each platform, into archives
// with the license and the completion script, and writes the manifest for Krew, with the
// checksums of the archives.
//
// A binary is named kubectl-seldon-OS-ARCH, with .exe for Windows. Archives are .tar.gz or, for
// Windows, .zip. The output is reproducible: it is identical for identical files.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	o := options{}
	flag.StringVar(&o.version, "version", "", "version of the binaries, without a v")
	flag.StringVar(&o.downloads, "downloads", "", "URL of the folder with a folder for each tag, such as v0.1.0, that archives are downloaded from")
	flag.StringVar(&o.output, "output", "", "folder to write to")
	seconds := flag.Int64("time", 0, "time of the files in the archives, in seconds since the Unix epoch")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(flag.CommandLine.Output(), "Usage: plugin --version VERSION --downloads URL --output FOLDER BINARY...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.version == "" || o.downloads == "" || o.output == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	o.time = time.Unix(*seconds, 0).UTC()
	o.additional = []string{"LICENSE", "hack/kubectl_complete-seldon"}
	if err := o.write(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}
