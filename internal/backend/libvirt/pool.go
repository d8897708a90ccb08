package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// pool is a storage pool of a host: a directory, or a pool of Ceph's.
type pool struct {
	c    *conn
	ref  lv.StoragePool
	name string
	dir  string // of a directory pool
	rbd  *rbdSource
	// adopted, of a pool from volumePool, are the volumes with names of their
	// own, wherever they are.
	adopted *adopted
}

// dirTypes are the types of pools that are a directory with files in it.
var dirTypes = []string{"dir", "fs", "netfs"}

// pool reads one of the host's pools, once for each connection.
func (c *conn) pool(ctx context.Context, name string) (*pool, error) {
	c.mu.Lock()
	known := c.pools[name]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	ref, err := ask(ctx, c, "look up pool "+name, func() (lv.StoragePool, error) { return c.l.StoragePoolLookupByName(name) })
	if err != nil {
		return nil, misconfigured(err)
	}
	text, err := ask(ctx, c, "read pool "+name, func() (string, error) { return c.l.StoragePoolGetXMLDesc(ref, 0) })
	if err != nil {
		return nil, misconfigured(err)
	}
	p, err := parsePool(text)
	if err != nil {
		return nil, misconfigured(fmt.Errorf("pool %s of host %s: %w", name, c.host.Name, err))
	}
	p.c, p.ref, p.name = c, ref, name
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pools[name] = p
	return p, nil
}

// misconfigured is an error of the host that only its operator can end.
func misconfigured(err error) error {
	var known *backend.Error
	if errors.As(err, &known) {
		return err
	}
	return backend.ErrUnavailable.Because(err)
}

func parsePool(text string) (*pool, error) {
	var x struct {
		Type   string    `xml:"type,attr"`
		Source rbdSource `xml:"source"`
		Target struct {
			Path string `xml:"path"`
		} `xml:"target"`
	}
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return nil, err
	}
	switch {
	case slices.Contains(dirTypes, x.Type) && x.Target.Path != "":
		return &pool{dir: path.Clean(x.Target.Path)}, nil
	case x.Type == "rbd" && x.Source.Name != "":
		return &pool{rbd: &x.Source}, nil
	}
	return nil, fmt.Errorf("type %q: want a directory or rbd", x.Type)
}

// volumePool and isoPool are the pools the host's settings name.
func (c *conn) volumePool(ctx context.Context) (*pool, error) {
	known, err := c.host.d.adopted(ctx)
	if err != nil {
		return nil, err
	}
	return c.volumePoolWith(ctx, known)
}

// volumePoolWith is volumePool for a call that has asked already.
func (c *conn) volumePoolWith(ctx context.Context, known *adopted) (*pool, error) {
	p, err := c.pool(ctx, c.host.Pool)
	if err != nil {
		return nil, err
	}
	return p.with(known), nil
}

func (p *pool) with(known *adopted) *pool {
	q := *p
	q.adopted = known
	return &q
}

func (c *conn) isoPool(ctx context.Context) (*pool, error) {
	if c.host.ISOPool == "" {
		return c.pool(ctx, c.host.Pool)
	}
	return c.pool(ctx, c.host.ISOPool)
}

const volumeSuffix = ".raw"

// fileOf is the name that a volume has in the pool.
func (p *pool) fileOf(id string) string {
	if p.rbd != nil {
		return id
	}
	return id + volumeSuffix
}

// idOfFile is the volume that has the name in the pool, "" where it can be none.
func (p *pool) idOfFile(name string) string {
	if p.rbd == nil {
		var ok bool
		if name, ok = strings.CutSuffix(name, volumeSuffix); !ok {
			return ""
		}
	}
	if !backend.ValidID(name) {
		return ""
	}
	return name
}

// sourceOf is the source, as sourceName writes it, that a guest connects to.
func (p *pool) sourceOf(file string) string {
	if p.rbd != nil {
		return rbdPrefix + p.rbd.Name + "/" + file
	}
	return path.Join(p.dir, file)
}

// fileOfSource is the name in the pool that a source is, "" when it is not in
// the pool.
func (p *pool) fileOfSource(source string) string {
	if file, ok := strings.CutPrefix(source, poolPrefix+p.name+"/"); ok {
		return file
	}
	at := p.sourceOf("") + "/"
	if p.rbd != nil {
		at = p.sourceOf("")
	}
	file, ok := strings.CutPrefix(source, at)
	if !ok || strings.Contains(file, "/") {
		return ""
	}
	return file
}

// source is what a guest that has the volume connects to.
func (p *pool) source(id string) string {
	if source, ok := p.adopted.source(id); ok {
		return source
	}
	return p.sourceOf(p.fileOf(id))
}

// idOf is the volume that has the source, "" without. An adopted one's id is
// the name of no file.
func (p *pool) idOf(source string) string {
	if id := p.adopted.id(source); id != "" {
		return id
	}
	id := p.idOfFile(p.fileOfSource(source))
	if _, elsewhere := p.adopted.source(id); elsewhere {
		return ""
	}
	return id
}

// volumeOf is the volume a disk is, "" when it is none.
func (p *pool) volumeOf(d *disk) string {
	if !d.isDisk() {
		return ""
	}
	if id := p.idOf(d.source); id != "" {
		return id
	}
	id, ok := strings.CutPrefix(d.alias, aliasPrefix)
	if !ok || !backend.ValidID(id) {
		return ""
	}
	return id
}

// file is one volume of libvirt's: a data volume's file or image, or an ISO's.
type file struct {
	p     *pool
	ref   lv.StorageVol
	bytes int64
}

// lookup finds a name in the pool as libvirt has it in its memory, nil without.
// libvirt goes by the names of the pool and the volume, so there is no need to
// have it make the reference first.
func (p *pool) lookup(ctx context.Context, name string) (*file, error) {
	f := &file{p: p, ref: lv.StorageVol{Pool: p.ref.Name, Name: name, Key: outsideSource(p.sourceOf(name))}}
	var err error
	f.bytes, err = f.size(ctx)
	if gone(err) {
		return nil, nil
	}
	return f, err
}

// gone: libvirt knew the file, but the storage does not have it any more.
func gone(err error) bool {
	return isCode(err, lv.ErrNoStorageVol) || isCode(err, lv.ErrSystemError) && says(err, "no such file")
}

// size is a file's length. What a directory pool calls the capacity is what the
// content says, which guests write.
func (f *file) size(ctx context.Context) (int64, error) {
	return ask(ctx, f.p.c, "look at "+f.ref.Name, func() (int64, error) {
		if f.p.rbd != nil {
			_, capacity, _, err := f.p.c.l.StorageVolGetInfo(f.ref)
			return int64(capacity), err
		}
		_, _, length, err := f.p.c.l.StorageVolGetInfoFlags(f.ref, uint32(lv.StorageVolGetPhysical))
		return int64(length), err
	})
}

// find is lookup that has libvirt read the storage again before it says that a
// name is not there: another host may have made it.
func (p *pool) find(ctx context.Context, name string) (*file, error) {
	f, err := p.lookup(ctx, name)
	if f != nil || err != nil {
		return f, err
	}
	if err := p.refresh(ctx); err != nil {
		return nil, err
	}
	return p.lookup(ctx, name)
}

// refresh has libvirt read the storage, once the pool's other work lets it.
func (p *pool) refresh(ctx context.Context) error {
	c := p.c
	return patiently(ctx, c.host.d.opts.CallTimeout, poolBusy, func() error {
		return c.do(ctx, "refresh pool "+p.name, func() error { return c.l.StoragePoolRefresh(p.ref, 0) })
	})
}

// patiently repeats a call while what it needs is busy, for so long.
func patiently(ctx context.Context, limit time.Duration, busy func(error) bool, call func() error) error {
	for end := time.Now().Add(limit); ; {
		err := call()
		if !busy(err) || time.Now().After(end) {
			return err
		}
		if err := backend.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// create makes an empty, thin file or image. exists(err): there is one.
func (p *pool) create(ctx context.Context, name string, bytes int64) error {
	format := ""
	if p.rbd == nil {
		format = "<target><format type='raw'/><permissions><mode>0600</mode></permissions></target>"
	}
	text := fmt.Sprintf("<volume><name>%s</name><capacity unit='bytes'>%d</capacity><allocation>0</allocation>%s</volume>", name, bytes, format)
	c := p.c
	return c.do(ctx, "create "+name, func() error {
		_, err := c.l.StorageVolCreateXML(p.ref, text, 0)
		return err
	})
}

// resize makes it bytes long. The caller has seen that it is shorter.
func (f *file) resize(ctx context.Context, bytes int64) error {
	c := f.p.c
	raw, err := f.isRaw(ctx)
	switch {
	case err != nil:
		return err
	case !raw:
		return f.extend(ctx, bytes)
	}
	return c.do(ctx, "resize "+f.ref.Name, func() error { return c.l.StorageVolResize(f.ref, uint64(bytes), 0) })
}

// isRaw reports whether libvirt takes the content for raw. It looks at the
// content, so a guest that writes the head of another format makes it think so.
func (f *file) isRaw(ctx context.Context) (bool, error) {
	if f.p.rbd != nil {
		return true, nil
	}
	target, err := f.target(ctx)
	return target.Format.Type == "raw", err
}

// fileTarget is what libvirt's definition of a file says of it.
type fileTarget struct {
	Format struct {
		Type string `xml:"type,attr"`
	} `xml:"format"`
	Changed string `xml:"timestamps>ctime"`
}

func (f *file) target(ctx context.Context) (fileTarget, error) {
	text, err := ask(ctx, f.p.c, "look at "+f.ref.Name, func() (string, error) { return f.p.c.l.StorageVolGetXMLDesc(f.ref, 0) })
	if err != nil {
		return fileTarget{}, err
	}
	var x struct {
		Target fileTarget `xml:"target"`
	}
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return fileTarget{}, fmt.Errorf("read the volume %s: %w", f.ref.Name, err)
	}
	return x.Target, nil
}

// extend is resize for a file that libvirt would resize as the format it takes
// it for: a zero byte is written where the end is to be.
func (f *file) extend(ctx context.Context, bytes int64) error {
	return f.p.c.stream(ctx, "extend "+f.ref.Name, func(l *lv.Libvirt, fl *flow) error {
		return l.StorageVolUpload(f.ref, fl.from(strings.NewReader("\x00")), uint64(bytes-1), 1, 0)
	})
}

// remove deletes it. Gone already: nil.
func (f *file) remove(ctx context.Context) error {
	c := f.p.c
	limit := c.host.d.opts.CallTimeout
	if f.p.rbd != nil {
		limit *= 20 // Ceph looks for every object an image may have
	}
	err := patiently(ctx, c.host.d.opts.CallTimeout, poolBusy, func() error {
		return c.doFor(ctx, limit, "delete "+f.ref.Name, func() error { return c.l.StorageVolDelete(f.ref, 0) })
	})
	switch {
	case err == nil || isCode(err, lv.ErrNoStorageVol):
		return nil
	case f.p.rbd != nil && isCode(err, lv.ErrSystemError, lv.ErrInternalError):
		return f.p.rbdBusy(ctx, f, err)
	case gone(err):
		return nil
	}
	return err
}

// files lists the pool after a refresh.
func (p *pool) files(ctx context.Context) ([]*file, error) {
	if err := p.refresh(ctx); err != nil {
		return nil, err
	}
	c := p.c
	refs, err := ask(ctx, c, "list pool "+p.name, func() ([]lv.StorageVol, error) {
		all, _, err := c.l.StoragePoolListAllVolumes(p.ref, 1, 0)
		return all, err
	})
	if err != nil {
		return nil, err
	}
	var all []*file
	for _, ref := range refs {
		f := &file{p: p, ref: ref}
		f.bytes, err = f.size(ctx)
		switch {
		case gone(err):
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}
