package libvirt

import (
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// TestTwoMarks: two servers that mark a start at once leave it the same start.
func TestTwoMarks(t *testing.T) {
	r := newRig(t, libvirttest.Start(t)) // with nobody else who looks
	ctx := t.Context()
	ref := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}).UUID
	one, two := r.open(t, Options{}), r.open(t, Options{})
	look := func(d *Driver) string {
		t.Helper()
		v, err := d.Inspect(ctx, ref)
		ok(t, err)
		return v.Starts
	}
	first := look(one)
	// It looked before the other had set its mark, and sets its own now.
	c, g := onHost(t, two, ref)
	ok(t, c.setMark(ctx, g.dom, startURI+two.id, "start", "id", "late"))
	after := look(one)
	if names := strings.Fields(after); len(names) != 2 || !slices.Contains(names, "late") || !backend.SameStart(first, after) || look(two) != after {
		t.Errorf("the start was %q, and is %q", first, after)
	}
	ok(t, one.Power(ctx, ref, backend.PowerOff))
	ok(t, one.Power(ctx, ref, backend.PowerStart))
	if next := look(two); next == "" || backend.SameStart(after, next) {
		t.Errorf("after another start it is %q, after %q", next, after)
	}
}
