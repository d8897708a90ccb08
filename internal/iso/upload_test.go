package iso_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// sending is a request for an upload of the image.
func sending() iso.Create {
	return iso.Create{FacilityCode: "TPA1", Name: "disc", UploadBytes: int64(len(image)), Bootable: true}
}

// send uploads bytes of the image, to the offset to.
func send(t testing.TB, w *worldtest.World, id string, from, to int) iso.ISO {
	t.Helper()
	i, err := w.ISOs.Upload(ctx, mine, id, int64(from), int64(to-from), bytes.NewReader(image[from:to]))
	if err != nil || i.Done != int64(to) {
		t.Fatalf("upload %d to %d: at %d, %v", from, to, i.Done, err)
	}
	return i
}

// at checks where an upload is.
func at(t testing.TB, w *worldtest.World, id string, want int) {
	t.Helper()
	if i, err := w.ISOs.Uploaded(ctx, mine, id); err != nil || i.Done != int64(want) {
		t.Fatalf("the upload is at %d, %v, want %d", i.Done, err, want)
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	setQuota(t, w, 9, int64(len(image)))
	for _, algorithm := range []string{"sha256", "sha512", "md5"} {
		req := sending()
		req.Checksum = algorithm + ":" + worldtest.Digest(algorithm, image)
		i := begun(t, w, worldtest.Client, req)
		wantUsed(t, w, 1, int64(len(image)))
		if w.Count(`SELECT count(*) FROM task WHERE id = ? AND args LIKE '%"url"%'`, i.TaskID) != 0 {
			t.Error("the task names a url")
		}
		if i.Status() != "Waiting for upload" || i.Size != int64(len(image)) || i.Ready() {
			t.Errorf("accepted: %+v", i)
		}
		if _, err := w.ISOs.Create(ctx, worldtest.Client, sending()); fault.ReasonOf(err) != "quota_exceeded" {
			t.Errorf("a second upload over the quota: %v", err)
		}
		refused(t, w, iso.ErrNotReady, func() (task.Task, error) { return w.ISOs.Attach(ctx, mine, 1001, i.ID, false) })
		at(t, w, i.ID, 0)
		half := len(image) / 2
		if got := send(t, w, i.ID, 0, half); got.Status() != "50% Uploaded" && got.Status() != "49% Uploaded" {
			t.Errorf("half of it: %s", got.Status())
		}
		send(t, w, i.ID, half, half) // no byte is fine
		send(t, w, i.ID, half, len(image))
		w.Succeeds(importOf(i))
		at(t, w, i.ID, len(image))
		send(t, w, i.ID, len(image), len(image)) // the answer was lost
		got := read(t, w, i.ID)
		if !got.Ready() || got.Label != "DISC" || got.SHA256 != worldtest.Digest("sha256", image) || got.Size != int64(len(image)) {
			t.Errorf("imported: %+v", got)
		}
		wantUsed(t, w, 1, int64(len(image)))
		w.Check()
		removed(t, w, i.ID)
		w.Check()
	}
	// The same bytes are stored once, however they came.
	ready(t, w, worldtest.Client, "TPA1")
	setQuota(t, w, 9, 2*int64(len(image)))
	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, len(image))
	w.Succeeds(importOf(i))
	if all := stored(t, w, "TPA1"); len(all) != 1 {
		t.Errorf("stored: %+v", all)
	}
	w.Check()
}

// What is uploaded is held to the rules of a download.
func TestUploadOfNoUse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes  []byte
		change func(*iso.Create)
		reason string
	}{
		"page":     {html(), nil, "not_an_iso"},
		"cut":      {cut(image, 2048), nil, "iso_truncated"},
		"plain":    {worldtest.Image("DATA", false), nil, "iso_not_bootable"},
		"checksum": {image, func(c *iso.Create) { c.Checksum = wrongDigest("sha512") }, "checksum_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			req := sending()
			req.UploadBytes = int64(len(c.bytes))
			if c.change != nil {
				c.change(&req)
			}
			i := begun(t, w, worldtest.Client, req)
			if _, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, bytes.NewReader(c.bytes)); err != nil {
				t.Fatal(err)
			}
			w.Fails(importOf(i), c.reason)
			if _, err := w.ISOs.Uploaded(ctx, mine, i.ID); fault.ReasonOf(err) != "upload_over" {
				t.Errorf("a failed upload is at %v", err)
			}
			wantUsed(t, w, 1, 0)
			failed(t, w, i, c.reason, "")
		})
	}
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	create := func(what, reason string, change func(*iso.Create)) {
		t.Helper()
		req := sending()
		change(&req)
		if _, err := w.ISOs.Create(ctx, worldtest.Client, req); fault.ReasonOf(err) != fault.Reason(reason) {
			t.Errorf("%s: %v, want %s", what, err, reason)
		}
	}
	create("both", "url_and_upload", func(c *iso.Create) { c.URL = url })
	create("too large", "iso_too_large", func(c *iso.Create) { c.UploadBytes = worldtest.MaxUpload + 1 })
	create("neither", "url_invalid", func(c *iso.Create) { c.UploadBytes = 0 })
	create("elsewhere", "uploads_not_taken", func(c *iso.Create) { c.FacilityCode = "LAX3" })
	create("nowhere", "facility_unknown", func(c *iso.Create) { c.FacilityCode = "MARS1" })

	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, 5000)
	long := append(bytes.Clone(image), 0)
	upload := func(what, reason string, scopeOf string, id string, offset, length int64, body io.Reader) {
		t.Helper()
		scope := mine
		if scopeOf == "theirs" {
			scope = theirs
		}
		if _, err := w.ISOs.Upload(ctx, scope, id, offset, length, body); fault.ReasonOf(err) != fault.Reason(reason) {
			t.Errorf("%s: %v, want %s", what, err, reason)
		}
		at(t, w, i.ID, 5000)
	}
	rest := func() io.Reader { return bytes.NewReader(image[5000:]) }
	upload("another client's", "iso_not_found", "theirs", i.ID, 5000, -1, rest())
	upload("none", "iso_not_found", "mine", "nobody", 5000, -1, rest())
	upload("behind", "upload_offset", "mine", i.ID, 4999, -1, rest())
	upload("ahead", "upload_offset", "mine", i.ID, 5001, -1, rest())
	upload("announced too long", "upload_too_long", "mine", i.ID, 5000, int64(len(image)), rest())
	upload("too long", "upload_too_long", "mine", i.ID, 5000, -1, bytes.NewReader(long[5000:]))
	upload("too long in pieces", "upload_too_long", "mine", i.ID, 5000, -1, iotest.OneByteReader(bytes.NewReader(long[5000:])))
	if _, err := w.ISOs.Uploaded(ctx, theirs, i.ID); !errors.Is(err, iso.ErrNotFound) {
		t.Errorf("another client is told %v", err)
	}
	w.Exec(`UPDATE iso SET upload = 'there'`)
	upload("on another server", "upload_elsewhere", "mine", i.ID, 5000, -1, rest())
	w.Exec(`UPDATE iso SET upload = 'here'`)

	path := filepath.Join(w.Uploads, i.ID+".part")
	if err := os.Truncate(path, 4999); err != nil {
		t.Fatal(err)
	}
	upload("lost", "upload_lost", "mine", i.ID, 5000, -1, rest())
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	upload("all lost", "upload_lost", "mine", i.ID, 5000, -1, rest())

	d := ready(t, w, worldtest.Client, "TPA1")
	if _, err := w.ISOs.Uploaded(ctx, mine, d.ID); !errors.Is(err, iso.ErrNoUpload) {
		t.Errorf("a download is told %v", err)
	}
	upload("a download", "upload_not_found", "mine", d.ID, 0, -1, rest())
}

// A body that breaks off leaves what came before, and the next one goes on.
func TestUploadInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := begun(t, w, worldtest.Client, sending())
	done := 0
	for _, n := range []int{1, 1000, 0, 20000} {
		body := io.MultiReader(bytes.NewReader(image[done:done+n]), iotest.ErrReader(io.ErrUnexpectedEOF))
		_, err := w.ISOs.Upload(ctx, mine, i.ID, int64(done), int64(len(image)-done), body)
		if !errors.Is(err, iso.ErrUploadCut) {
			t.Fatalf("got %v", err)
		}
		done += n
		at(t, w, i.ID, done)
	}
	// With the last byte it is whole, whatever becomes of the connection.
	body := io.MultiReader(bytes.NewReader(image[done:]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := w.ISOs.Upload(ctx, mine, i.ID, int64(done), -1, body); !errors.Is(err, iso.ErrUploadCut) {
		t.Fatalf("got %v", err)
	}
	w.Succeeds(importOf(i))
	w.Check()
}

// slowBody hands out a piece, tells so, and waits.
type slowBody struct {
	piece         []byte
	read, release chan struct{}
}

func newSlowBody(piece []byte) *slowBody {
	return &slowBody{piece: piece, read: make(chan struct{}), release: make(chan struct{})}
}

// Read is in io.Reader.
func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.piece) > 0 {
		n := copy(p, b.piece)
		b.piece = b.piece[n:]
		return n, nil
	}
	close(b.read)
	<-b.release
	return 0, io.ErrUnexpectedEOF
}

// While one request writes, another one is refused; once it has ended, no more.
func TestUploadOneWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := begun(t, w, worldtest.Client, sending())
	body, over := newSlowBody(image[:3000]), make(chan error)
	go func() {
		_, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, body)
		over <- err
	}()
	<-body.read
	at(t, w, i.ID, 0) // nothing is said to be there that may be lost
	if _, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, bytes.NewReader(image)); !errors.Is(err, iso.ErrUploadBusy) {
		t.Errorf("a second writer: %v", err)
	}
	close(body.release)
	if err := <-over; !errors.Is(err, iso.ErrUploadCut) {
		t.Errorf("the first writer: %v", err)
	}
	send(t, w, i.ID, 3000, len(image))
	w.Succeeds(importOf(i))
	w.Check()
}

// A writer that was thought dead records nothing over what another one did
// meanwhile.
func TestUploadOvertaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile string
		want      *fault.Error
		at        int
	}{
		"by one that writes":  {`UPDATE iso SET upload_writer = 'two/1/x', upload_until = 1 << 60`, iso.ErrUploadBusy, 0},
		"by one that is done": {`UPDATE iso SET upload_writer = '', done_bytes = 5000`, iso.ErrUploadOffset, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			i := begun(t, w, worldtest.Client, sending())
			body, over := newSlowBody(image[:3000]), make(chan error)
			go func() {
				_, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, body)
				over <- err
			}()
			<-body.read
			w.Exec(c.meanwhile)
			close(body.release)
			if err := <-over; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %s", err, c.want.Reason)
			}
			at(t, w, i.ID, c.at)
			if info, err := os.Stat(filepath.Join(w.Uploads, i.ID+".part")); err != nil || info.Size() < 3000 {
				t.Errorf("bytes of an upload that goes on are gone: %v", err)
			}
		})
	}
}

// A server that was killed while it wrote does not keep its next start out.
func TestUploadFreed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := begun(t, w, worldtest.Client, sending())
	w.Exec(`UPDATE iso SET upload_writer = 'one/before/1', upload_until = 1 << 60`)
	busy := func() bool {
		_, err := w.ISOs.Upload(ctx, mine, i.ID, 0, 0, bytes.NewReader(nil))
		return errors.Is(err, iso.ErrUploadBusy)
	}
	for _, other := range []string{"two", "on"} {
		if err := w.DB.ISOs().FreeUploads(ctx, other); err != nil || !busy() {
			t.Errorf("freed by the start of %s, %v", other, err)
		}
	}
	if err := w.DB.ISOs().FreeUploads(ctx, "one"); err != nil || busy() {
		t.Errorf("its own is not freed: %v", err)
	}
}

func TestUploadAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{UploadIdle: 50 * time.Millisecond})
	i := begun(t, w, worldtest.Client, sending())
	w.Fails(importOf(i), "upload_abandoned")
	wantUsed(t, w, 1, 0)
	if _, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, bytes.NewReader(image)); !errors.Is(err, iso.ErrUploadOver) {
		t.Errorf("an upload that was given up: %v", err)
	}
	failed(t, w, i, "upload_abandoned", "no byte for 50ms")
}

// An upload that got a byte in time is waited for again, and the import begins
// with the last byte, not when it would have been looked at.
func TestUploadKeptWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, 100)
	w.Exec(`UPDATE task SET run_at = 0 WHERE id = ?`, i.TaskID)
	w.Until("the task to be put off", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE id = ? AND attempt = 1 AND state = 'ready' AND failures = 0
			AND run_at > updated_at + 23 * 3600 * 1000000`, i.TaskID) == 1
	})
	send(t, w, i.ID, 100, len(image))
	w.Succeeds(importOf(i))
	w.Check()
}

// A server that does not have the folder leaves the import to one that has.
func TestUploadImportElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	w.Stop()
	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, len(image))
	w.Exec(`UPDATE iso SET upload = 'there'`)
	w.Start()
	w.Until("the task to be put off", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE id = ? AND attempt > 0 AND state = 'ready' AND failures = 0`, i.TaskID) == 1
	})
	w.Exec(`UPDATE iso SET upload = 'here'`)
	w.Succeeds(importOf(i))
	w.Check()
}

// The bytes are gone when the import begins.
func TestUploadLost(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"file": os.Remove, "end": func(path string) error { return os.Truncate(path, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			w.Stop()
			i := begun(t, w, worldtest.Client, sending())
			send(t, w, i.ID, 0, len(image))
			if err := spoil(filepath.Join(w.Uploads, i.ID+".part")); err != nil {
				t.Fatal(err)
			}
			w.Start()
			w.Fails(importOf(i), "upload_lost")
			failed(t, w, i, "upload_lost", "")
		})
	}
}

// A delete does not wait for bytes, and leaves none, even if they still come.
func TestDeleteUpload(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]int{"before the first byte": 0, "half way": len(image) / 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			i := begun(t, w, worldtest.Client, sending())
			send(t, w, i.ID, 0, bytes)
			removed(t, w, i.ID)
			wantUsed(t, w, 0, 0)
			w.Check()
		})
	}
	t.Run("while it is written", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, worldtest.Options{})
		i := begun(t, w, worldtest.Client, sending())
		body, over := newSlowBody(image[:3000]), make(chan error)
		go func() {
			_, err := w.ISOs.Upload(ctx, mine, i.ID, 0, -1, body)
			over <- err
		}()
		<-body.read
		removed(t, w, i.ID)
		// As by a writer that opened its file late.
		if err := os.WriteFile(filepath.Join(w.Uploads, i.ID+".part"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		close(body.release)
		if err := <-over; !errors.Is(err, iso.ErrNotFound) {
			t.Errorf("the writer: %v", err)
		}
		w.Check()
	})
}

// Killed ahead of any write, the import of an upload ends the same.
func TestKillDuringUploadImport(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t, worldtest.Options{})
		var i iso.ISO
		killed := w.KillAtWrite(n, func() task.Task {
			i = begun(t, w, worldtest.Client, sending())
			send(t, w, i.ID, 0, len(image))
			return importOf(i)
		})
		w.Succeeds(importOf(i))
		if got := read(t, w, i.ID); got.SHA256 != worldtest.Digest("sha256", image) {
			t.Errorf("killed at write %d: %+v", n, got)
		}
		w.Check()
		if !killed {
			if n < 4 {
				t.Errorf("an import has %d writes only", n-1)
			}
			return
		}
	}
}

// A server that takes the import over has no copy of its own, but the upload
// is still there.
func TestUploadTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	d.On("ImportISO").Block(nil)
	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, len(image))
	if err := d.WaitCalls(ctx, "ImportISO", 1); err != nil {
		t.Fatal(err)
	}
	w.Kill()
	d.Reset()
	if err := os.Remove(filepath.Join(w.Staging, i.ID+".part")); err != nil {
		t.Fatal(err)
	}
	w.Start()
	w.Succeeds(importOf(i))
	w.Check()
}

func TestSweepUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	sweep := func() {
		t.Helper()
		if err := w.ISOs.SweepUploads(func() ([]string, error) { return w.DB.ISOs().Uploads(ctx, "here") }); err != nil {
			t.Fatal(err)
		}
	}
	sweep() // without a folder
	i := begun(t, w, worldtest.Client, sending())
	send(t, w, i.ID, 0, 100)
	left := filepath.Join(w.Uploads, "gone.part")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what nobody needs is there: %v", err)
	}
	send(t, w, i.ID, 100, len(image))
	w.Succeeds(importOf(i))
	w.Check()
}
