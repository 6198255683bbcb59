package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"golang.org/x/mod/module"
)

// unknown is SPDX's value for what the author of a document did not determine.
const unknown = "NOASSERTION"

// writeSBOM writes the bill of materials of one image as SPDX. The image contains the
// programs' module, which depends on the modules and on the version of Go that the Go
// command recorded in the programs.
func writeSBOM(path string, programs []program, image v1.Image, version string) error {
	p := programs[0]
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	container := spdx.Package{
		PackageName: entrypoint[1:] + "-image", PackageVersion: version, PackageSPDXIdentifier: "image", PrimaryPackagePurpose: "CONTAINER",
		PackageChecksums:          []common.Checksum{{Algorithm: common.SHA256, Value: digest.Hex}},
		PackageExternalReferences: purl("oci", entrypoint[1:], digest.String()),
	}
	main := packageOf(&p.info.Main)
	main.PackageVersion = version
	document := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      fmt.Sprintf("%s %s %s", p.info.Main.Path, version, p.platform),
		DocumentNamespace: fmt.Sprintf("https://%s/spdx/%s", p.info.Main.Path, digest.Hex),
		CreationInfo: &spdx.CreationInfo{
			Created:  p.created.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "hack/image"}},
		},
	}
	add := func(from common.ElementID, relationship string, to spdx.Package) {
		to.PackageDownloadLocation = cmp.Or(to.PackageDownloadLocation, unknown)
		to.PackageLicenseConcluded, to.PackageLicenseDeclared, to.PackageCopyrightText = unknown, unknown, unknown
		document.Packages = append(document.Packages, &to)
		document.Relationships = append(document.Relationships, &spdx.Relationship{
			RefA: common.MakeDocElementID("", string(from)), Relationship: relationship, RefB: common.MakeDocElementID("", string(to.PackageSPDXIdentifier)),
		})
	}
	add(document.SPDXIdentifier, common.TypeRelationshipDescribe, container)
	add(container.PackageSPDXIdentifier, common.TypeRelationshipContains, main)
	add(main.PackageSPDXIdentifier, common.TypeRelationshipDependsOn, packageOf(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(p.info.GoVersion, "go")}))
	added := map[string]bool{}
	for _, each := range programs {
		for _, dependency := range each.info.Deps {
			for dependency.Replace != nil {
				dependency = dependency.Replace
			}
			// Programs of one module have one version of each dependency.
			if !added[dependency.Path] {
				added[dependency.Path] = true
				add(main.PackageSPDXIdentifier, common.TypeRelationshipDependsOn, packageOf(dependency))
			}
		}
	}
	var content bytes.Buffer
	if err := spdxjson.Write(&document, &content, spdxjson.Indent("  ")); err != nil {
		return err
	}
	return os.WriteFile(path, content.Bytes(), 0o644)
}

// packageOf returns the SPDX package of a module.
func packageOf(m *debug.Module) spdx.Package {
	p := spdx.Package{
		PackageName: m.Path, PackageVersion: m.Version, PackageSPDXIdentifier: identifier(m.Path),
		PackageExternalReferences: purl("golang", m.Path, strings.TrimPrefix(m.Version, "(devel)")),
	}
	if path, err := module.EscapePath(m.Path); err == nil && m.Sum != "" {
		p.PackageDownloadLocation = fmt.Sprintf("https://proxy.golang.org/%s/@v/%s.zip", path, m.Version)
		// A checksum in go.sum is that of the module's files. SPDX's own checksum field is
		// for that of the archive.
		p.PackageComment = "go.sum " + m.Sum
	}
	return p
}

// identifier returns the SPDX identifier of a module path. SPDX allows letters, digits,
// "." and "-".
func identifier(path string) common.ElementID {
	return common.ElementID("go-" + strings.Map(func(r rune) rune {
		if r == '/' || r == '_' || r == '~' {
			return '-'
		}
		return r
	}, path))
}

// purl returns a package URL, by which scanners identify a package. The version of a
// module is that of its tag, including the v, and empty if it was built without a
// commit.
func purl(kind, name, version string) []*spdx.PackageExternalReference {
	locator := fmt.Sprintf("pkg:%s/%s", kind, name)
	if version != "" {
		locator += "@" + strings.NewReplacer(":", "%3A", "+", "%2B").Replace(version)
	}
	return []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: locator}}
}
