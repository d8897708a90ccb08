package iso_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// Two clients import two contents over and over, attach and delete them, while
// servers are killed and the backend refuses things now and then: everything
// ends, no ready ISO lacks its content, none is left over, drives are as said.
func TestRandomISOs(t *testing.T) {
	t.Parallel()
	sources := []string{url, "http://mirror.example/b.iso", "http://other.example/a.iso", "http://mirror.example/page.html"}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, worldtest.Options{})
		w.Source.Put(sources[1], worldtest.Image("B", true))
		w.Source.Put(sources[2], image)
		w.Source.Put(sources[3], html())
		var ids []string
		any := func() string {
			if len(ids) == 0 {
				t.Skip("no ISO yet")
			}
			return rapid.SampledFrom(ids).Draw(t, "iso")
		}
		device := func() int64 { return rapid.SampledFrom([]int64{1001, 1002, 2001}).Draw(t, "device") }
		may := func(err error) {
			t.Helper()
			if k := fault.KindOf(err); err != nil && (k == fault.Internal || k == fault.Unavailable) {
				t.Fatalf("refused for no reason of the rules: %v", err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"import": func(t *rapid.T) {
				client := rapid.SampledFrom([]int64{worldtest.Client, worldtest.Other}).Draw(t, "client")
				i, err := w.ISOs.Create(ctx, client, wanted(rapid.SampledFrom(sources).Draw(t, "url")))
				may(err)
				ids = append(ids, i.ID)
			},
			"delete": func(*rapid.T) { _, err := w.ISOs.Delete(ctx, everyone, any(), nil); may(err) },
			"attach": func(*rapid.T) { _, err := w.ISOs.Attach(ctx, everyone, device(), any(), false); may(err) },
			"detach": func(*rapid.T) { _, err := w.ISOs.Detach(ctx, everyone, device(), false); may(err) },
			"wait":   func(*rapid.T) { w.Quiet() },
			"kill":   func(*rapid.T) { w.Restart() },
			"hiccup": func(t *rapid.T) {
				rule := w.Drivers["TPA1"].On(rapid.SampledFrom([]string{"ImportISO", "DeleteISO", "SetMedia"}).Draw(t, "call"))
				err := rapid.SampledFrom([]error{deny, errCut}).Draw(t, "error")
				if rapid.Bool().Draw(t, "acts") {
					rule.Lose(err, 1)
				} else {
					rule.Fail(err, 1)
				}
			},
		})
		w.Quiet()
		w.Check() // mends the driver
		for _, d := range []int64{1001, 1002, 2001} {
			if k, err := w.ISOs.Detach(ctx, everyone, d, false); err == nil {
				w.Succeeds(k)
			}
		}
		for _, id := range ids {
			if _, err := w.ISOs.Get(ctx, everyone, id, nil); fault.ReasonOf(err) != iso.ErrNotFound.Reason {
				removed(t, w, id)
			}
		}
		w.Check()
		if n := len(stored(t, w, "TPA1")); n != 0 {
			t.Fatalf("%d images are left", n)
		}
	})
}
