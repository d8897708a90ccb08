package backend

import (
	"context"
	"io/fs"
	"sync"
)

// Object is a guest, a volume or an image that a call holds while it acts.
type Object struct {
	kind objectKind
	name string
}

type objectKind string

const (
	guestKind  objectKind = "guest"
	volumeKind objectKind = "volume"
	imageKind  objectKind = "image"
)

// GuestObject is the guest with that ref.
func GuestObject(ref string) Object { return Object{guestKind, ref} }

// VolumeObject is the volume with that id.
func VolumeObject(id string) Object { return Object{volumeKind, id} }

// ImageObject is the image with that key.
func ImageObject(isoKey string) Object { return Object{imageKind, isoKey} }

func (o Object) valid() bool {
	if o.kind == imageKind {
		return ValidKey(o.name)
	}
	return ValidID(o.name)
}

func (o Object) lock() string { return string(o.kind) + "/" + o.name }

// Gate is what the calls of a driver go through: one at a time on each object,
// none of an older run than the object has seen, and none once it is closed.
// NewGate makes one.
type Gate struct {
	locks   Locks
	fences  fences
	closing chan struct{}
	calls   sync.WaitGroup // under way

	mu     sync.Mutex
	closed bool
}

// NewGate returns an open gate.
func NewGate() *Gate { return &Gate{closing: make(chan struct{})} }

// Enter begins a call that acts on the objects, given in the order guest,
// volume, image and each once. It waits for the calls that hold them, and
// returns how to end the call. With an error nothing is held: ErrInvalid is for
// an object that has no proper name, ErrUnavailable for a closed gate, ErrFenced
// for a call whose run has been overtaken, else it is ctx's.
func (g *Gate) Enter(ctx context.Context, objects ...Object) (leave func(), err error) {
	var names []string
	for _, o := range objects {
		if !o.valid() {
			return nil, ErrInvalid
		}
		names = append(names, o.lock())
	}
	if !g.begin() {
		return nil, ErrUnavailable.Because(fs.ErrClosed)
	}
	unlock, err := g.locks.Lock(ctx, names...)
	if err != nil {
		g.calls.Done()
		return nil, err
	}
	leave = func() { unlock(); g.calls.Done() }
	if err = ctx.Err(); err == nil { // also where nothing had to be locked
		err = g.fences.pass(ctx, fenced(objects))
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (g *Gate) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.calls.Add(1)
	return true
}

// Close lets no further call in, ends those that wait on Closing, and returns
// once none is under way. A second time it does the same.
func (g *Gate) Close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	g.mu.Unlock()
	g.calls.Wait()
}

// Closing is closed once Close has been called. Calls that wait for a guest
// then give up.
func (g *Gate) Closing() <-chan struct{} { return g.closing }

// Held is how many objects are held or waited for.
func (g *Gate) Held() int { return g.locks.Len() }

// fenced is which of a call's objects its fence belongs to, "" for none: the
// volume, else the guest. The tasks on a volume run in the order they were
// accepted, wherever it is attached; those on a guest do too, but a volume may
// be taken from a guest by an older one. Images are shared by tasks that know
// nothing of each other.
func fenced(objects []Object) string {
	object := ""
	for _, o := range objects {
		switch o.kind {
		case volumeKind:
			return o.lock()
		case guestKind:
			object = o.lock()
		}
	}
	return object
}
