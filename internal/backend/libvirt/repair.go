package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// A libvirtd that dies while a running guest gets or loses a disk or a medium may
// leave in QEMU what no definition names: it holds the image's lock, or its room
// on the disk after it was deleted, and the names it has taken make later attaches
// fail. So a mark with the volume's id, or busyDrive, is set on the
// running guest before, and taken off after. It is in libvirt's own record of
// the running guest, so it outlives libvirtd and this process, and ends with the
// guest's. Whoever finds a mark asks QEMU, clears what is left, and takes the
// mark off. Questions to QEMU mark a domain as tainted, so nobody asks without
// need.

// busyDrive is the mark of a guest whose drive gets another medium. No volume has
// that id.
const busyDrive = "/cdrom"

// repairLimit is how long a guest may take to let go of what is cleared.
const repairLimit = 5 * time.Second

// unmark takes the mark off after a change that is over. The caller need not
// wait for it: who comes next to the guest does.
func (g *guest) unmark(ctx context.Context) {
	d := g.c.host.d
	ctx = context.WithoutCancel(ctx)
	unlock, err := d.unmarks.Lock(ctx, g.ref)
	if err != nil {
		return // the mark stays, and is looked into
	}
	d.unmarking.Go(func() {
		defer unlock()
		if err := whileRunning(g.c.setBusy(ctx, g.dom, "")); err != nil {
			d.log.Warn("a guest keeps the mark of a change that is over", "host", g.c.host.Name, "guest", g.ref, "err", err)
		}
	})
}

// unmarked returns once no mark of this driver's is about to be taken off.
func (d *Driver) unmarked(ctx context.Context, ref string) error {
	unlock, err := d.unmarks.Lock(ctx, ref)
	if err == nil {
		unlock()
	}
	return err
}

// readSettled is read after everything interrupted is in order. The caller has
// the guest's lock, or that of the volume whose mark it has.
func (c *conn) readSettled(ctx context.Context, dom lv.Domain) (*guest, error) {
	if err := c.host.d.unmarked(ctx, refOf(dom.UUID)); err != nil {
		return nil, err
	}
	g, err := c.read(ctx, dom)
	if err != nil || g.live == nil || g.live.busy == "" {
		return g, err
	}
	if err := whileRunning(g.settle(ctx)); err != nil {
		return nil, err
	}
	if err := whileRunning(c.setBusy(ctx, dom, "")); err != nil {
		return nil, err
	}
	return c.read(ctx, dom)
}

// sweep puts in order what was interrupted on the host. What cannot be is left
// to the calls that come across it, and so are the marks: another server may be
// in the middle of such a change.
func (c *conn) sweep(ctx context.Context) error {
	doms, err := c.domains(ctx)
	if err != nil {
		return err
	}
	for _, dom := range doms {
		g, err := c.read(ctx, dom)
		if err == nil && g.live != nil {
			err = whileRunning(g.meet(ctx))
		}
		switch {
		case err == nil || isCode(err, lv.ErrNoDomain):
		case c.isLost():
			return err
		default:
			c.host.d.log.Warn("an interrupted change of a guest is not in order", "host", c.host.Name, "guest", refOf(dom.UUID), "err", err)
		}
	}
	return nil
}

// meet returns once libvirtd is in touch with the guest, and puts it in order. A
// libvirtd that has just started answers before: what it is asked to stop then,
// it takes for a guest that it could not find.
func (g *guest) meet(ctx context.Context) error {
	// A question that waits for its turn with the guest.
	err := g.c.do(ctx, "look at guest "+g.ref, func() error {
		_, err := g.c.l.DomainMemoryStats(g.dom, 1, 0)
		return err
	})
	if err != nil || g.live.busy == "" {
		return err
	}
	return g.settle(ctx)
}

// settle clears what an interrupted attach or detach of the marked volume left
// in QEMU.
func (g *guest) settle(ctx context.Context) error {
	id := g.live.busy
	if id == busyDrive {
		return g.settleDrive(ctx)
	}
	p, err := g.c.volumePool(ctx)
	if err != nil || g.live.volume(p, id) != nil {
		// Where libvirt names it, it and QEMU agree: libvirtd compares them when it starts.
		return err
	}
	// The question waits for a change of the guest that is under way.
	nodes, err := g.nodesOf(ctx, p, id)
	if err != nil || len(nodes) == 0 {
		return err
	}
	now, err := g.c.read(ctx, g.dom)
	if err != nil || now.live == nil || now.live.volume(p, id) != nil {
		return err
	}
	return g.clear(ctx, id, nodes, func() {
		// "not found" is what is wanted, and a device that is going says so too.
		_, _ = g.monitor(ctx, "device_del", map[string]any{"id": alias(id)})
	}, func() ([]string, error) { return g.nodesOf(ctx, p, id) })
}

// settleDrive clears the images in QEMU that no definition names, after an
// interrupted change of the medium. libvirtd sees when it starts that a drive is
// empty, and not what it was about to do with an image's nodes.
func (g *guest) settleDrive(ctx context.Context) error {
	p, err := g.c.isoPool(ctx)
	if err != nil {
		return err
	}
	drive := g.live.cdrom(g.c.host.d.opts.CDBus)
	now := g.live
	strays := func() ([]string, error) {
		// The question waits for a change that is under way, so what it made is in
		// the definition that is read afterwards.
		answer, err := g.blockNodes(ctx)
		if err != nil {
			return nil, err
		}
		after, err := g.c.read(ctx, g.dom)
		if err != nil || after.live == nil {
			return nil, err
		}
		now = after.live
		return nodesIn(answer, func(file string) bool {
			return p.keyOf(file) != "" && !now.namesAny(func(s string) bool { return s == file })
		})
	}
	nodes, err := strays()
	if err != nil || len(nodes) == 0 || drive == nil {
		return err
	}
	return g.clear(ctx, "in the drive", nodes, func() {
		// Where it is in the drive after all, nobody knows of it.
		if !now.namesAny(func(s string) bool { return p.keyOf(s) != "" }) {
			_, _ = g.monitor(ctx, "blockdev-open-tray", map[string]any{"id": drive.alias, "force": true})
			_, _ = g.monitor(ctx, "blockdev-remove-medium", map[string]any{"id": drive.alias})
		}
	}, strays)
}

// clear removes block nodes from QEMU, and first, in each round, what uses them.
// left tells which there still are.
func (g *guest) clear(ctx context.Context, what string, nodes []string, users func(), left func() ([]string, error)) error {
	g.c.host.d.log.Warn("clearing what an interrupted call left in a guest", "guest", g.ref, "what", what, "nodes", nodes)
	for end := time.Now().Add(repairLimit); ; {
		users()
		for _, name := range nodes {
			_, _ = g.monitor(ctx, "blockdev-del", map[string]any{"node-name": name})
		}
		var err error
		nodes, err = left()
		switch {
		case err != nil || len(nodes) == 0:
			return err
		case time.Now().After(end):
			return backend.ErrUnavailable.Because(fmt.Errorf("guest %s keeps %v (%s) from an interrupted call", g.ref, nodes, what))
		}
		if err := backend.Pause(ctx, poll); err != nil {
			return err
		}
	}
}

// nodesOf are QEMU's block nodes on the volume, those that use others first.
func (g *guest) nodesOf(ctx context.Context, p *pool, id string) ([]string, error) {
	return g.nodesAt(ctx, func(file string) bool { return p.isNodeOf(file, id) })
}

// nodesAt are QEMU's block nodes whose file is one that counts.
func (g *guest) nodesAt(ctx context.Context, counts func(file string) bool) ([]string, error) {
	answer, err := g.blockNodes(ctx)
	if err != nil {
		return nil, err
	}
	return nodesIn(answer, counts)
}

func (g *guest) blockNodes(ctx context.Context) (json.RawMessage, error) {
	return g.monitor(ctx, "query-named-block-nodes", map[string]any{"flat": true})
}

func nodesIn(answer json.RawMessage, counts func(file string) bool) ([]string, error) {
	var all []struct {
		Name string `json:"node-name"`
		File string `json:"file"`
	}
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, fmt.Errorf("read QEMU's block nodes: %w", err)
	}
	var names []string
	for _, n := range all {
		if counts(n.File) {
			names = append(names, n.Name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names, nil
}

func rank(node string) int {
	if strings.HasSuffix(node, "-storage") {
		return 1
	}
	return 0
}

// isNodeOf reports whether a block node's file is the volume.
func (p *pool) isNodeOf(file, id string) bool {
	source := p.source(id)
	name, isImage := strings.CutPrefix(source, rbdPrefix)
	if !isImage {
		return file == source
	}
	if rest, ok := strings.CutPrefix(file, source); ok {
		return rest == "" || rest[0] == ':' || rest[0] == '@'
	}
	inJSON := func(key, value string) bool {
		return regexp.MustCompile(`"` + key + `": ?"` + regexp.QuoteMeta(value) + `"`).MatchString(file)
	}
	pool, image, _ := strings.Cut(name, "/")
	return strings.HasPrefix(file, "json:") && inJSON("pool", pool) && inJSON("image", image)
}

// monitor asks the guest's QEMU itself.
func (g *guest) monitor(ctx context.Context, command string, args map[string]any) (json.RawMessage, error) {
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	if err != nil {
		return nil, err
	}
	answer, err := ask(ctx, g.c, command, func() (string, error) {
		return g.c.l.QEMUDomainMonitorCommand(g.dom, string(text), 0)
	})
	if err != nil {
		return nil, err
	}
	return monitorAnswer(answer)
}

func monitorAnswer(text string) (json.RawMessage, error) {
	var x struct {
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Class string `json:"class"`
			Desc  string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		return nil, fmt.Errorf("read QEMU's answer: %w", err)
	}
	if x.Error != nil {
		return nil, errors.New(x.Error.Class + ": " + x.Error.Desc)
	}
	return x.Return, nil
}
