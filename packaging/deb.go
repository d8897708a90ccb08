package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// debian makes the Debian package. Its scripts, unit and settings are in
// debian/; work is a folder for files that are made.
func (r *release) debian(t target, binary string, d documents, work string) error {
	version, err := debianVersion(r.version)
	if err != nil {
		return err
	}
	changes := filepath.Join(work, "changelog.gz")
	if err := r.writeChanges(changes, version); err != nil {
		return err
	}
	own := filepath.Join(r.root, "packaging", "debian")
	put := func(source, to string, mode os.FileMode) *files.Content {
		return &files.Content{Source: source, Destination: to, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.at}}
	}
	settings := put(filepath.Join(own, "drivebay.yaml"), "/etc/drivebay/drivebay.yaml", 0o640)
	settings.Type = files.TypeConfigNoReplace
	contents := files.Contents{
		put(binary, "/usr/bin/drivebay", 0o755),
		put(filepath.Join(own, "drivebay.service"), "/usr/lib/systemd/system/drivebay.service", 0o644),
		settings,
		put(filepath.Join(own, "copyright"), "/usr/share/doc/drivebay/copyright", 0o644),
		put(changes, "/usr/share/doc/drivebay/changelog.gz", 0o644),
		put(filepath.Join(r.root, "drivebay.example.yaml"), "/usr/share/doc/drivebay/examples/drivebay.example.yaml", 0o644),
	}
	for _, to := range slices.Sorted(maps.Keys(d.installed)) {
		contents = append(contents, put(d.installed[to], to, 0o644))
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "drivebay", Arch: t.arch, Platform: t.os, Version: version, VersionSchema: "none",
		Section: "admin", Priority: "optional", Maintainer: r.maintainer, License: "Apache-2.0", MTime: r.at,
		DisableGlobbing: true,
		Description: `control plane for VPS block volumes and ISO images
 drivebay serves an API for the block volumes and ISO images of virtual
 servers, and does the work on real storage: files, or guests of libvirt with
 directory and Ceph RBD pools. This package runs it as a service.`,
		Overridables: nfpm.Overridables{
			Depends:    []string{"adduser"},
			Recommends: []string{"ca-certificates"},
			Suggests:   []string{"libvirt-daemon-system", "postgresql"},
			Contents:   contents,
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(own, "postinst"),
				PreRemove:   filepath.Join(own, "prerm"),
				PostRemove:  filepath.Join(own, "postrm"),
			},
		},
	})
	var packed bytes.Buffer
	if err := deb.Default.Package(info, &packed); err != nil {
		return err
	}
	name := fmt.Sprintf("drivebay_%s_%s.deb", version, t.arch)
	return os.WriteFile(filepath.Join(r.out, name), packed.Bytes(), 0o644)
}

// writeChanges writes the changelog that a package has to have.
func (r *release) writeChanges(path, version string) error {
	data, err := gzipped(fmt.Appendf(nil, "drivebay (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n",
		version, r.version, r.maintainer, r.at.Format("Mon, 02 Jan 2006 15:04:05 -0700")))
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
