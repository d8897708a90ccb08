package iso_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	if !i.Ready() || i.Status() != "Ready" || i.Size != int64(len(image)) || i.SHA256 != worldtest.Digest("sha256", image) ||
		i.Label != "DISC" || !i.BIOS || i.UEFI || len(i.DeviceIDs) != 0 || i.ClientID != worldtest.Client {
		t.Errorf("imported: %+v", i)
	}
	if got := stored(t, w, "TPA1"); len(got) != 1 || got[0].Key != i.SHA256 || got[0].Bytes != i.Size {
		t.Errorf("stored: %v", got)
	}
	k := w.Ended(i.TaskID)
	if k.Progress != 100 || k.ISOID != i.ID || k.ClientID != worldtest.Client || strings.Contains(string(k.Args), "secret") {
		t.Errorf("task: %+v", k)
	}
	w.Check()
	removed(t, w, i.ID)
	w.Check()
	if got := stored(t, w, "TPA1"); len(got) != 0 {
		t.Errorf("after the delete: %v", got)
	}
}

// The statuses are the contract's words, in their order, and ready comes last.
func TestStatusOnTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{Imports: 1})
	d := w.Drivers["TPA1"]
	step, more := make(chan int), make(chan struct{})
	w.Source.Hook(url, func(ctx context.Context, done int) error {
		step <- done
		<-more
		return nil
	})
	i := begun(t, w, worldtest.Client, wanted(url))
	queued := begun(t, w, worldtest.Client, wanted("http://mirror.example/b.iso"))
	if i.Status() != "Queued" {
		t.Errorf("at first: %q", i.Status())
	}
	verifying, store := make(chan struct{}), make(chan struct{})
	go func() {
		_ = d.WaitCalls(ctx, "ImportISO", 1)
		close(verifying)
	}()
	d.On("ImportISO").Block(store)
	for _, want := range []string{"0% Downloaded", "25% Downloaded", "50% Downloaded", "75% Downloaded", "99% Downloaded"} {
		<-step
		got := read(t, w, i.ID)
		if got.Status() != want || got.Ready() {
			t.Errorf("status %q, ready %t, want %q", got.Status(), got.Ready(), want)
		}
		w.Clock.Add(time.Second)
		more <- struct{}{}
	}
	if got := read(t, w, queued.ID); got.Status() != "Queued" {
		t.Errorf("behind it: %q", got.Status())
	}
	<-verifying
	if got := read(t, w, i.ID); got.Status() != "Verifying" || got.Ready() {
		t.Errorf("while it is stored: %q, ready %t", got.Status(), got.Ready())
	}
	if k, err := w.Tasks.Get(ctx, mine, i.TaskID); err != nil || k.Progress >= 100 || k.State.Result() != "Pending" {
		t.Errorf("task while it is stored: %+v, %v", k, err)
	}
	close(store)
	w.Succeeds(importOf(i))
	if got := read(t, w, i.ID); got.Status() != "Ready" || !got.Ready() {
		t.Errorf("at last: %q", got.Status())
	}
	w.Fails(importOf(queued), "source_status")
	w.Check()
}

func TestProgressIsWrittenOnceASecond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		between time.Duration
		want    int
	}{
		"all at once":         {0, 1},
		"a little in between": {400 * time.Millisecond, 2},
		"a second":            {time.Second, worldtest.Pieces},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			w.Source.Hook(url, func(context.Context, int) error { w.Clock.Add(c.between); return nil })
			ready(t, w, worldtest.Client, "TPA1")
			if got := w.Advances(); got != c.want {
				t.Errorf("%d writes, want %d", got, c.want)
			}
		})
	}
}

func TestCreateRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	for name, c := range map[string]struct {
		change func(*iso.Create)
		want   fault.Reason
		field  string
	}{
		"no facility":        {func(c *iso.Create) { c.FacilityCode = "XXX9" }, vps.ErrUnknownFacility.Reason, "facilityCode"},
		"checksum malformed": {func(c *iso.Create) { c.Checksum = "sha256:12" }, iso.ErrChecksumForm.Reason, "checksum"},
		"not a URL":          {func(c *iso.Create) { c.URL = "mirror" }, fetch.ReasonURLInvalid, "url"},
		"empty URL":          {func(c *iso.Create) { c.URL = "" }, fetch.ReasonURLInvalid, "url"},
		"file":               {func(c *iso.Create) { c.URL = "file:///etc/passwd" }, fetch.ReasonURLNotAllowed, "url"},
		"loopback":           {func(c *iso.Create) { c.URL = "http://127.0.0.1/a.iso" }, fetch.ReasonURLNotAllowed, "url"},
	} {
		req := wanted(url)
		c.change(&req)
		_, err := w.ISOs.Create(ctx, worldtest.Client, req)
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Invalid || f.Reason != c.want || f.Fields[c.field] == "" {
			t.Errorf("%s: %v (%s)", name, err, fault.ReasonOf(err))
		}
	}
	if n := w.Count(`SELECT count(*) FROM iso`) + w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.create'`); n != 0 {
		t.Errorf("refused requests left %d rows", n)
	}
}

// Each failure has its own reason; the ISO stays listed with it, and can be
// deleted.
func TestImportFails(t *testing.T) {
	t.Parallel()
	plain := worldtest.Image("PLAIN", false)
	for _, c := range []struct {
		name   string
		image  []byte
		change func(*iso.Create)
		reason string
		text   string
	}{
		{"sha256 differs", image, func(c *iso.Create) { c.Checksum = wrongDigest("sha256") }, "checksum_mismatch", worldtest.Digest("sha256", image)},
		{"sha512 differs", image, func(c *iso.Create) { c.Checksum = wrongDigest("sha512") }, "checksum_mismatch", worldtest.Digest("sha512", image)},
		{"md5 differs", image, func(c *iso.Create) { c.Checksum = wrongDigest("md5") }, "checksum_mismatch", worldtest.Digest("md5", image)},
		{"a web page", html(), nil, "not_an_iso", "Sign in"},
		{"zeros", make([]byte, 1<<17), nil, "not_an_iso", ""},
		{"one byte", []byte{1}, nil, "not_an_iso", ""},
		{"cut short", cut(image, 4096), nil, "iso_truncated", "incomplete"},
		{"not bootable", plain, nil, "iso_not_bootable", ""},
		{"not there", nil, nil, "source_status", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			w.Source.Put(url, c.image)
			req := wanted(url)
			if c.change != nil {
				c.change(&req)
			}
			i := begun(t, w, worldtest.Client, req)
			w.Fails(importOf(i), c.reason)
			failed(t, w, i, c.reason, c.text)
			if _, n := w.Source.Served(url); n != 1 {
				t.Errorf("%d downloads", n)
			}
		})
	}
}

// failed checks an ISO whose import has failed, and deletes it.
func failed(t *testing.T, w *worldtest.World, i iso.ISO, reason, text string) {
	t.Helper()
	list, err := w.ISOs.List(ctx, mine, "TPA1")
	if err != nil || len(list) != 1 || list[0].ID != i.ID {
		t.Fatalf("listed: %+v, %v", list, err)
	}
	got := list[0]
	if got.State != iso.Failed || got.Ready() || string(got.Reason) != reason || got.Error == "" || got.Status() != got.Error || !strings.Contains(got.Error, text) {
		t.Errorf("failed ISO: %+v", got)
	}
	refused(t, w, iso.ErrNotReady, func() (task.Task, error) { return w.ISOs.Attach(ctx, mine, 1001, i.ID, false) })
	for _, d := range w.Drivers {
		d.SetFull(false)
	}
	w.Check()
	removed(t, w, i.ID)
	w.Check()
}

func TestChecksumsThatMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	for _, algorithm := range []string{"sha256", "sha512", "md5"} {
		req := wanted(url)
		req.Checksum = strings.ToUpper(algorithm) + ":" + strings.ToUpper(worldtest.Digest(algorithm, image))
		i := begun(t, w, worldtest.Client, req)
		w.Succeeds(importOf(i))
	}
	req := wanted("http://mirror.example/plain.iso")
	req.Bootable = false
	w.Source.Put(req.URL, worldtest.Image("PLAIN", false))
	i := begun(t, w, worldtest.Client, req)
	w.Succeeds(importOf(i))
	if got := read(t, w, i.ID); got.BIOS || got.UEFI || got.Label != "PLAIN" {
		t.Errorf("an image that does not boot: %+v", got)
	}
	w.Check()
}

func TestStorageFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	w.Drivers["TPA1"].SetFull(true)
	i := begun(t, w, worldtest.Client, wanted(url))
	w.Fails(importOf(i), "storage_full")
	failed(t, w, i, "storage_full", "full")
	ready(t, w, worldtest.Client, "TPA1")
	w.Check()
}

// Trouble of our own passes; the source's was repeated by the download itself.
func TestImportTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	fails := 1
	w.Source.Hook(url, func(_ context.Context, done int) error {
		if done > 0 && fails > 0 {
			fails--
			return errors.New("write staged file: input/output error")
		}
		return nil
	})
	w.Drivers["TPA1"].On("ImportISO").Fail(backend.ErrUnavailable, 1)
	i := ready(t, w, worldtest.Client, "TPA1")
	if bytes, n := w.Source.Served(url); bytes != len(image) || n != 2 {
		t.Errorf("%d bytes in %d downloads, want %d in 2", bytes, n, len(image))
	}
	if k := w.Ended(i.TaskID); k.Failures != 2 {
		t.Errorf("%d failures", k.Failures)
	}
	w.Check()
}

func TestImportDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{ImportDeadline: 100 * time.Millisecond})
	w.Source.Hook(url, func(ctx context.Context, done int) error {
		if done == 0 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	i := begun(t, w, worldtest.Client, wanted(url))
	w.Fails(importOf(i), "deadline_exceeded")
	failed(t, w, i, "deadline_exceeded", "")
}

// A delete ends the import that is under way.
func TestDeleteWhileDownloading(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	reached, release := make(chan struct{}, 1), make(chan struct{})
	w.Source.Hook(url, func(ctx context.Context, done int) error {
		if done == 0 {
			return nil
		}
		reached <- struct{}{}
		<-ctx.Done()
		<-release
		return ctx.Err()
	})
	i := begun(t, w, worldtest.Client, wanted(url))
	<-reached
	k, err := w.ISOs.Delete(ctx, mine, i.ID, nil)
	accepted(t, k, err)
	refused(t, w, iso.ErrDeleting, func() (task.Task, error) { return w.ISOs.Delete(ctx, mine, i.ID, nil) })
	close(release)
	w.Fails(importOf(i), "cancelled")
	w.Succeeds(k)
	w.Check()
	if n := w.Count(`SELECT count(*) FROM iso`); n != 0 {
		t.Errorf("%d ISOs are left", n)
	}
}

// An import that was given up before its turn downloads nothing.
func TestDeleteWhileQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{Imports: 1})
	release, reached := make(chan struct{}), make(chan struct{}, 9)
	w.Source.Hook(url, func(context.Context, int) error { reached <- struct{}{}; <-release; return nil })
	first := begun(t, w, worldtest.Client, wanted(url))
	<-reached
	const other = "http://mirror.example/b.iso"
	w.Source.Put(other, image)
	second := begun(t, w, worldtest.Client, wanted(other))
	k, err := w.ISOs.Delete(ctx, mine, second.ID, nil)
	accepted(t, k, err)
	close(release)
	w.Succeeds(importOf(first))
	w.Fails(importOf(second), "cancelled")
	w.Succeeds(k)
	if _, n := w.Source.Served(other); n != 0 {
		t.Errorf("%d downloads of what was not wanted any more", n)
	}
	w.Check()
}
