package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	lv "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"github.com/drivebay/drivebay/internal/backend"
)

// An image is two files of the pool: its content, and a mark that is made once
// the content is there whole and has the right hash. Without the mark, the
// content is what an interrupted transfer left.
const (
	imageSuffix = ".iso"
	readySuffix = ".ok"
)

func imageFile(key string) string { return key + imageSuffix }
func readyFile(key string) string { return key + readySuffix }

// keyOf is the image that a source is, "" when it is none.
func (p *pool) keyOf(source string) string { return keyOfFile(p.fileOfSource(source)) }

func keyOfFile(name string) string {
	key, ok := strings.CutSuffix(name, imageSuffix)
	if !ok || !backend.ValidKey(key) {
		return ""
	}
	return key
}

// image is a ready image of the pool, nil without.
func (p *pool) image(ctx context.Context, key string) (*file, error) {
	var ready, content *file
	var asking errgroup.Group
	asking.Go(func() (err error) { ready, err = p.find(ctx, readyFile(key)); return err })
	asking.Go(func() (err error) { content, err = p.find(ctx, imageFile(key)); return err })
	if err := asking.Wait(); err != nil || ready == nil {
		return nil, err
	}
	return content, nil
}

// images are those ready in the host's pool.
func (c *conn) images(ctx context.Context) ([]backend.ISOView, error) {
	p, err := c.isoPool(ctx)
	if err != nil {
		return nil, err
	}
	files, err := p.files(ctx)
	if err != nil {
		return nil, err
	}
	ready := map[string]bool{}
	for _, f := range files {
		ready[f.ref.Name] = true
	}
	var all []backend.ISOView
	for _, f := range files {
		if key := keyOfFile(f.ref.Name); key != "" && ready[readyFile(key)] {
			all = append(all, backend.ISOView{Key: key, Bytes: f.bytes})
		}
	}
	return all, nil
}

// imageFiles are a ready image's, one for each host that has it.
func (d *Driver) imageFiles(ctx context.Context, key string) (all []*file, away error, err error) {
	files := make([]*file, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) error {
		p, err := c.isoPool(ctx)
		if err == nil {
			files[i], err = p.image(ctx, key)
		}
		return err
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(files, func(f *file) bool { return f == nil }), errors.Join(errs...), nil
}

// ImportISO implements backend.Driver. The image goes to the first host that
// answers; the others get it when a guest of theirs needs it.
func (d *Driver) ImportISO(ctx context.Context, spec backend.ISOSpec, path string) error {
	if spec.Bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.ImageObject(spec.Key))
	if err != nil {
		return err
	}
	defer leave()
	return failure("import image "+spec.Key, d.importISO(ctx, spec, path))
}

func (d *Driver) importISO(ctx context.Context, spec backend.ISOSpec, path string) error {
	all, _, err := d.imageFiles(ctx, spec.Key)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.bytes != spec.Bytes {
			return backend.ErrConflict
		}
	}
	if len(all) > 0 {
		return nil
	}
	content, err := os.Open(path)
	if err != nil {
		return backend.ErrInvalid.Because(err)
	}
	defer content.Close()
	info, err := content.Stat()
	switch {
	case err != nil:
		return backend.ErrInvalid.Because(err)
	case !info.Mode().IsRegular() || info.Size() != spec.Bytes:
		return backend.ErrInvalid.Because(fmt.Errorf("%s is no regular file of %d bytes", path, spec.Bytes))
	}
	c, err := d.anyHost(ctx)
	if err != nil {
		return err
	}
	p, err := c.isoPool(ctx)
	if err != nil {
		return err
	}
	return p.store(ctx, spec, content)
}

// store writes an image into the pool and marks it ready. What it leaves when
// it fails is not marked, and the next one removes it.
func (p *pool) store(ctx context.Context, spec backend.ISOSpec, content io.Reader) error {
	if p.rbd != nil {
		return backend.ErrUnsupported.Because(errors.New("images need a directory pool: set one beside the RBD pool"))
	}
	for _, name := range []string{readyFile(spec.Key), imageFile(spec.Key)} {
		if err := p.discard(ctx, name); err != nil {
			return err
		}
	}
	if err := p.create(ctx, imageFile(spec.Key), spec.Bytes); err != nil {
		return err
	}
	err := p.fill(ctx, spec, content)
	if err == nil {
		err = p.create(ctx, readyFile(spec.Key), 1)
	}
	if err != nil && !p.c.isLost() {
		_ = p.discard(context.WithoutCancel(ctx), imageFile(spec.Key)) // the error is what counts
	}
	return err
}

// discard removes a name from the pool. Missing: nil.
func (p *pool) discard(ctx context.Context, name string) error {
	f, err := p.find(ctx, name)
	if f == nil || err != nil {
		return err
	}
	return f.remove(ctx)
}

// imageFor is the ready image on the host, copied there from another host if
// only that has it.
func (d *Driver) imageFor(ctx context.Context, c *conn, key string) (*file, error) {
	p, err := c.isoPool(ctx)
	if err != nil {
		return nil, err
	}
	f, err := p.image(ctx, key)
	if f != nil || err != nil {
		return f, err
	}
	all, away, err := d.imageFiles(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0 && away != nil:
		return nil, away
	case len(all) == 0:
		return nil, backend.ErrISONotFound
	}
	from := all[0]
	spec := backend.ISOSpec{Key: key, Bytes: from.bytes}
	if err := from.read(ctx, func(content io.Reader) error { return p.store(ctx, spec, content) }); err != nil {
		return nil, err
	}
	f, err = p.image(ctx, key)
	if f == nil && err == nil {
		err = backend.ErrUnavailable.Because(fmt.Errorf("image %s is not there after its copy", key))
	}
	return f, err
}

// SetMedia implements backend.Driver.
func (d *Driver) SetMedia(ctx context.Context, ref, isoKey string, force bool) error {
	objects := []backend.Object{backend.GuestObject(ref)}
	if isoKey != "" {
		objects = append(objects, backend.ImageObject(isoKey)) // so that nobody deletes it meanwhile
	}
	leave, err := d.gate.Enter(ctx, objects...)
	if err != nil {
		return err
	}
	defer leave()
	err = anew(func() error { return d.setMedia(ctx, ref, isoKey, force) })
	if isoKey == "" && (errors.Is(err, backend.ErrVMNotFound) || isCode(err, lv.ErrNoDomain)) {
		return nil
	}
	return failure("change the medium of guest "+ref, err)
}

func (d *Driver) setMedia(ctx context.Context, ref, key string, force bool) error {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return err
	}
	var (
		g      *guest
		want   string
		asking errgroup.Group
	)
	asking.Go(func() (err error) { g, err = c.readSettled(ctx, dom); return err })
	if key != "" {
		asking.Go(func() error {
			f, err := d.imageFor(ctx, c, key)
			if err == nil {
				want = f.p.sourceOf(f.ref.Name)
			}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	marked := false
	defer func() {
		if marked {
			g.unmark(ctx)
		}
	}()
	// The running guest first: where it refuses, the next start is as it was.
	for _, m := range g.both() {
		drive := m.cdrom(d.opts.CDBus)
		switch {
		case drive == nil && want == "":
			continue
		case drive == nil:
			return backend.ErrUnsupported.Because(fmt.Errorf("guest %s has no CD drive", ref))
		case drive.source == want:
			continue
		}
		flags := lv.DomainDeviceModifyConfig
		if m == g.live {
			flags = lv.DomainDeviceModifyLive
			if force {
				flags |= lv.DomainDeviceModifyForce
			}
		}
		text, err := mediaXML(drive.raw, want)
		if err != nil {
			return err
		}
		if m == g.live {
			marked, err = g.changeLive(ctx, text, flags, drive.alias)
		} else {
			err = c.do(ctx, "change the medium", func() error { return c.l.DomainUpdateDeviceFlags(dom, text, flags) })
		}
		if err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	return nil
}

// changeLive gives the running guest's drive its element with another medium.
// known: the mark that it has set can go. As after an attach, QEMU is asked what
// it has where libvirt's answer does not tell.
func (g *guest) changeLive(ctx context.Context, text string, flags lv.DomainDeviceModifyFlags, drive string) (known bool, err error) {
	if err := g.c.setBusy(ctx, g.dom, busyDrive); err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	err = patiently(ctx, g.c.host.d.opts.CallTimeout, trayBusy, func() error {
		err := g.c.do(ctx, "change the medium", func() error { return g.c.l.DomainUpdateDeviceFlags(g.dom, text, flags) })
		if trayBusy(err) {
			return errors.Join(err, g.openTray(ctx, drive, flags&lv.DomainDeviceModifyForce != 0))
		}
		return err
	})
	return err == nil || stateChanged(err) || errors.Is(failure("", err), backend.ErrTrayLocked), err
}

// openTray has QEMU open the drive's tray. libvirt does so by itself, except for
// one that it takes for open already; under a guest's firmware it may be wrong
// about that for good.
func (g *guest) openTray(ctx context.Context, drive string, force bool) error {
	_, err := g.monitor(ctx, "blockdev-open-tray", map[string]any{"id": drive, "force": force})
	if err != nil && strings.Contains(err.Error(), "locked") {
		return backend.ErrTrayLocked.Because(err)
	}
	return nil // else the next try tells
}

// mediaXML is a drive's element with another medium, "" for none. All else
// stays, since libvirt takes a changed element for a change of the drive. A
// medium that has vanished does not keep its guest from starting.
func mediaXML(raw, source string) (string, error) {
	all, err := elements(raw)
	if err != nil {
		return "", err
	}
	var edits []edit
	for _, e := range all {
		if e.path == "disk/source" || e.path == "disk/backingStore" {
			edits = append(edits, edit{e.start, e.end, ""})
		}
	}
	head := "<disk type='file'"
	for _, a := range all[0].attrs {
		if a.Name.Local != "type" {
			head += " " + a.Name.Local + "=" + quoted(a.Value)
		}
	}
	head += ">"
	if source != "" {
		head += "<source file=" + quoted(source) + " startupPolicy='optional'/>"
	}
	return apply(raw, append(edits, edit{all[0].start, all[0].inner, head})), nil
}

// DeleteISO implements backend.Driver. While a host does not answer, nothing is
// deleted: a guest there might use it.
func (d *Driver) DeleteISO(ctx context.Context, isoKey string) error {
	leave, err := d.gate.Enter(ctx, backend.ImageObject(isoKey))
	if err != nil {
		return err
	}
	defer leave()
	return failure("delete image "+isoKey, d.deleteISO(ctx, isoKey))
}

func (d *Driver) deleteISO(ctx context.Context, key string) error {
	guests, away, err := d.guests(ctx, nil)
	if err != nil {
		return err
	}
	for _, g := range guests {
		p, err := g.c.isoPool(ctx)
		if err != nil {
			return err
		}
		for _, m := range g.both() {
			if m.namesAny(func(s string) bool { return p.keyOf(s) == key }) {
				return backend.ErrInUse.Because(fmt.Errorf("guest %s has it in its drive", g.ref))
			}
		}
	}
	if away != nil {
		return away
	}
	for _, name := range []string{readyFile(key), imageFile(key)} { // from the mark on it is no image
		errs := onHosts(ctx, d.hosts, func(_ int, c *conn) error {
			p, err := c.isoPool(ctx)
			if err != nil {
				return err
			}
			return p.discard(ctx, name)
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	return nil
}
