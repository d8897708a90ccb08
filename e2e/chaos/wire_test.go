package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/fault"
)

// call is one call of a driver on its way to the host.
type call struct {
	Facility, Method, Ref, VolumeID, ISOKey, Path string
	Guest                                         string // the one a volume is made for
	Bytes                                         int64
	Force, CDFirst                                bool
	Action                                        backend.PowerAction
	VCPU, MemoryMB                                int
	Timeout                                       time.Duration
	Fence                                         *backend.Fence
}

// object is what the call's fence belongs to.
func (c call) object() string {
	if c.VolumeID != "" {
		return c.Facility + "/volume/" + c.VolumeID
	}
	return c.Facility + "/vm/" + c.Ref
}

// reply is the host's answer.
type reply struct {
	Err    *wireError
	VM     backend.VMView
	Volume backend.VolumeView
	All    backend.View
	// Pending is the answer of SetBoot.
	Pending bool
}

// wireError is an error of a driver; Reason is "" for one that is none.
type wireError struct {
	Reason    fault.Reason
	Text      string
	Permanent bool
}

func toWire(err error) *wireError {
	var be *backend.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &be):
		return &wireError{be.Reason, be.Text, be.Permanent}
	default:
		return &wireError{Text: err.Error()}
	}
}

func (e *wireError) err() error {
	switch {
	case e == nil:
		return nil
	case e.Reason == "":
		return errors.New(e.Text)
	default:
		return &backend.Error{Reason: e.Reason, Text: e.Text, Permanent: e.Permanent}
	}
}

// remote is the driver of one facility in a node: it asks the host.
type remote struct {
	facility string
	http     *http.Client
}

var _ backend.Driver = (*remote)(nil)

func newRemote(socket, facility string) *remote {
	return &remote{facility, &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 32,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// do sends the call. The end of ctx closes the connection, and the host may
// notice. Without an answer the outcome is unknown: a temporary error.
func (r *remote) do(ctx context.Context, c call) (out reply, err error) {
	c.Facility = r.facility
	if f, ok := backend.FenceOf(ctx); ok {
		c.Fence = &f
	}
	b, err := json.Marshal(c)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", "http://host/", bytes.NewReader(b))
	if err != nil {
		return out, err
	}
	resp, err := r.http.Do(req)
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&out)
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if err != nil {
		return out, fmt.Errorf("no answer from the host: %w", err)
	}
	return out, out.Err.err()
}

func (r *remote) Info() backend.Info { return fake.New(fakeOptions).Info() }

func (r *remote) EnsureVM(ctx context.Context, v backend.VM) error {
	_, err := r.do(ctx, call{Method: "EnsureVM", Ref: v.Ref, VCPU: v.VCPU, MemoryMB: v.MemoryMB})
	return err
}

func (r *remote) EnsureVolume(ctx context.Context, s backend.VolumeSpec) error {
	_, err := r.do(ctx, call{Method: "EnsureVolume", VolumeID: s.ID, Bytes: s.Bytes, Guest: s.Ref})
	return err
}

func (r *remote) GrowVolume(ctx context.Context, id string, bytes int64) error {
	_, err := r.do(ctx, call{Method: "GrowVolume", VolumeID: id, Bytes: bytes})
	return err
}

func (r *remote) DeleteVolume(ctx context.Context, id string) error {
	_, err := r.do(ctx, call{Method: "DeleteVolume", VolumeID: id})
	return err
}

func (r *remote) EnsureAttached(ctx context.Context, ref, id string) error {
	_, err := r.do(ctx, call{Method: "EnsureAttached", Ref: ref, VolumeID: id})
	return err
}

func (r *remote) EnsureDetached(ctx context.Context, ref, id string, o backend.DetachOptions) error {
	_, err := r.do(ctx, call{Method: "EnsureDetached", Ref: ref, VolumeID: id, Timeout: o.Timeout})
	return err
}

func (r *remote) SetMedia(ctx context.Context, ref, key string, force bool) error {
	_, err := r.do(ctx, call{Method: "SetMedia", Ref: ref, ISOKey: key, Force: force})
	return err
}

func (r *remote) ImportISO(ctx context.Context, s backend.ISOSpec, path string) error {
	_, err := r.do(ctx, call{Method: "ImportISO", ISOKey: s.Key, Bytes: s.Bytes, Path: path})
	return err
}

func (r *remote) DeleteISO(ctx context.Context, key string) error {
	_, err := r.do(ctx, call{Method: "DeleteISO", ISOKey: key})
	return err
}

func (r *remote) Power(ctx context.Context, ref string, a backend.PowerAction) error {
	_, err := r.do(ctx, call{Method: "Power", Ref: ref, Action: a})
	return err
}

func (r *remote) SetBoot(ctx context.Context, ref string, cdFirst bool) (bool, error) {
	out, err := r.do(ctx, call{Method: "SetBoot", Ref: ref, CDFirst: cdFirst})
	return out.Pending, err
}

// Watch hears nothing: every event is lost on the way, and the servers have to
// look for themselves.
func (r *remote) Watch(ctx context.Context, _ func(backend.GuestEvent)) error {
	<-ctx.Done()
	return nil
}

func (r *remote) Inspect(ctx context.Context, ref string) (backend.VMView, error) {
	out, err := r.do(ctx, call{Method: "Inspect", Ref: ref})
	return out.VM, err
}

func (r *remote) InspectVolume(ctx context.Context, id string) (backend.VolumeView, error) {
	out, err := r.do(ctx, call{Method: "InspectVolume", VolumeID: id})
	return out.Volume, err
}

func (r *remote) InspectAll(ctx context.Context) (backend.View, error) {
	out, err := r.do(ctx, call{Method: "InspectAll"})
	return out.All, err
}

func (r *remote) Close() error {
	r.http.CloseIdleConnections()
	return nil
}
