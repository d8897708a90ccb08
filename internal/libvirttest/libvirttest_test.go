package libvirttest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestDaemon(t *testing.T) {
	d := Start(t)
	g := d.NewGuest(t, GuestOptions{})
	if !g.Running() {
		t.Error("the guest does not run")
	}
	d.Kill(t)
	if err := d.client().Connect(); err == nil {
		t.Error("libvirtd answers after it was killed")
	}
	d.Restart(t)
	if !g.Running() {
		t.Error("the guest did not outlive libvirtd")
	}
	g.Destroy()
	if g.Running() {
		t.Error("the guest outlives its end")
	}
	g.Start()
	g.Reset()
	if !g.Running() {
		t.Error("the guest does not run after a reset")
	}
}
