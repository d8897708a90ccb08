package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// large is an image whose every byte tells where it is, so that none can be in
// another's place.
type large struct{ image }

// ReadAt implements io.ReaderAt.
func (l large) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.image.ReadAt(p, off)
	for i := max(0, int64(len(l.head))-off); i < int64(n); i++ {
		at := uint64(off + i)
		p[i] = byte(at ^ at>>8 ^ at>>16 ^ at>>24)
	}
	return n, err
}

func (l large) from(off int64) *io.SectionReader { return io.NewSectionReader(l, off, l.size-off) }

func (l large) sha256(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, l.from(0)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// uploader sends an image to one upload.
type uploader struct {
	*server
	iso  api.ISO
	http *http.Client
}

// offset asks how much is there.
func (u *uploader) offset() int64 {
	u.t.Helper()
	a, err := u.client().try(within(u.t, patience), http.MethodHead, "/vps/iso/"+u.iso.ISOID+"/upload", nil, "Tus-Resumable", "1.0.0")
	if err != nil || a.status != http.StatusOK {
		u.t.Fatalf("HEAD: %v, %v", a, err)
	}
	n, err := strconv.ParseInt(a.header.Get("Upload-Offset"), 10, 64)
	if err != nil {
		u.t.Fatal(err)
	}
	return n
}

// patch sends what body has, and returns the status, or 0 if no answer came.
func (u *uploader) patch(ctx context.Context, offset int64, body io.Reader) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.demo.URL+*u.iso.UploadURL, body)
	if err != nil {
		panic(err) // nothing in it comes from outside
	}
	req.Header.Set("X-API-KEY", u.demo.APIKey)
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	req.Header.Set("Upload-Offset", fmt.Sprint(offset))
	resp, err := u.http.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// begin accepts an upload of l with its checksum.
func (s *server) begin(l large) *uploader {
	s.t.Helper()
	body := isoBody("TPA1", "", true)
	delete(body, "url")
	body["upload"] = map[string]any{"size": l.size}
	body["checksum"] = "sha256:" + l.sha256(s.t)
	u := &uploader{server: s, http: &http.Client{Transport: &http.Transport{}}}
	s.t.Cleanup(u.http.CloseIdleConnections)
	s.client().want(http.StatusOK, "POST", "/vps/iso", body, &u.iso)
	return u
}

// killIn kills the server while it takes the bytes from offset on, once it has
// said that more of them are there for good, and starts it again. It returns
// how many it had said, at least.
func (u *uploader) killIn(l large, offset int64) (told int64) {
	u.t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		// The last bytes never come: the server is killed in the middle.
		r, w := io.Pipe()
		go func() {
			_, _ = io.Copy(w, io.NewSectionReader(l, offset, l.size-offset-1)) // until the server is gone
			<-over
			w.Close()
		}()
		u.patch(context.Background(), offset, r)
		r.Close()
	}()
	testneed.Eventually(u.t, "bytes that are there for good", func() bool {
		told = u.offset()
		return told > offset
	})
	u.kill()
	<-over
	u.start()
	u.awaitDemo()
	return told
}

// TestUploadKilled uploads an image to a server that is killed twice on the
// way. What it said to have, it has; the upload goes on from there at once, and
// takes no memory to speak of. DRIVEBAY_TEST_UPLOAD_MIB is how long the image is.
func TestUploadKilled(t *testing.T) {
	needBinary(t)
	l := large{newImage("LARGE", number(t, "DRIVEBAY_TEST_UPLOAD_MIB", 160)<<20, true)}
	s := startDemo(t, "--rate-limit=0")
	u := s.begin(l)
	var offset int64
	for range 2 {
		told := u.killIn(l, offset)
		if got := u.offset(); got < told {
			t.Fatalf("the server said %d and has %d bytes", told, got)
		}
		offset = u.offset()
		t.Logf("killed with %d of %d bytes there", offset, l.size)
	}
	before := memory(t, s, "VmRSS")
	forgetPeak(t, s)
	// Who was cut off by a kill keeps nobody out.
	if got := u.patch(t.Context(), offset, l.from(offset)); got != http.StatusNoContent {
		t.Fatalf("the rest is answered %d", got)
	}
	if got := u.offset(); got != l.size {
		t.Fatalf("with all of %d bytes sent %d are there", l.size, got)
	}
	c := s.client()
	if k := c.ended(*u.iso.TaskID); k.Result != api.TaskResultSuccess {
		t.Fatalf("the import came out as %+v", k)
	}
	if after := memory(t, s, "VmHWM"); after-before > 32<<20 {
		t.Errorf("the upload and the import took %d MiB of memory", (after-before)>>20)
	} else {
		t.Logf("the upload and the import took %d KiB of memory", (after-before)>>10)
	}
	got := c.iso(u.iso.ISOID)
	if !got.Ready || zero(got.SHA256) != l.sha256(t) || *got.Size != l.size || got.UploadURL != nil {
		t.Errorf("uploaded: %+v", got)
	}
	u.nothingLeft()
	check(t, s.dir)
	agree(t, s)
}

// nothingLeft holds that no byte of an upload is in its folders.
func (u *uploader) nothingLeft() {
	u.t.Helper()
	for _, folder := range []string{"uploads", "imports"} {
		if left, err := filepath.Glob(filepath.Join(u.dir, folder, "*.part")); err != nil || len(left) > 0 {
			u.t.Errorf("left in %s: %q, %v", folder, left, err)
		}
	}
}

// TestUploadDeleted deletes an ISO while its bytes come; none is left.
func TestUploadDeleted(t *testing.T) {
	needBinary(t)
	t.Parallel()
	l := large{newImage("GONE", 8<<20, true)}
	s := startDemo(t)
	u := s.begin(l)
	r, w := io.Pipe()
	answered := make(chan int)
	go func() { answered <- u.patch(context.Background(), 0, r) }()
	if _, err := io.Copy(w, io.NewSectionReader(l, 0, l.size/2)); err != nil {
		t.Fatal(err)
	}
	s.client().succeed("DELETE", "/vps/iso/"+u.iso.ISOID, nil)
	w.Close() // half of it is all there is
	if got := <-answered; got != http.StatusNotFound {
		t.Errorf("the PATCH is answered %d", got)
	}
	u.nothingLeft()
	check(t, s.dir)
}

// TestUploadStopped stops a server while an upload stands still: it does not
// wait for it, and what has come is there at the next start.
func TestUploadStopped(t *testing.T) {
	needBinary(t)
	t.Parallel()
	l := large{newImage("STOP", 8<<20, true)}
	s := startDemo(t, "--rate-limit=0", "--drain-timeout=50s")
	u := s.begin(l)
	r, w := io.Pipe()
	answered := make(chan int, 1)
	go func() { answered <- u.patch(context.Background(), 0, r) }()
	if _, err := io.Copy(w, io.NewSectionReader(l, 0, l.size/2)); err != nil {
		t.Fatal(err)
	}
	testneed.Eventually(t, "bytes in the file", func() bool {
		info, err := os.Stat(filepath.Join(s.dir, "uploads", u.iso.ISOID+".part"))
		return err == nil && info.Size() > 0
	})
	if code := s.stop(); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	if got := <-answered; got != http.StatusServiceUnavailable {
		t.Errorf("the PATCH is answered %d", got)
	}
	w.Close()
	s.start()
	s.awaitDemo()
	offset := u.offset()
	if got := u.patch(t.Context(), offset, l.from(offset)); got != http.StatusNoContent {
		t.Fatalf("the rest, from %d, is answered %d", offset, got)
	}
	if k := s.client().ended(*u.iso.TaskID); k.Result != api.TaskResultSuccess {
		t.Errorf("the import came out as %+v", k)
	}
	u.nothingLeft()
	check(t, s.dir)
}

// memory is a number of /proc/PID/status, in bytes; 0 where there is none.
func memory(t testing.TB, s *server, name string) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", name, b)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// forgetPeak makes VmHWM of the server start anew.
func forgetPeak(t testing.TB, s *server) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}
