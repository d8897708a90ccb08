package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// fault is a source that an image cannot be imported from.
type fault struct {
	name   string
	reason string
	serve  func(http.ResponseWriter, *http.Request)
	body   map[string]any // what the request has besides
	// heals is set for what may be otherwise on the next try; those are tried
	// again for minutes.
	heals bool
}

// mostBytes is --fetch-max-size of the test.
const mostBytes = 2 << 20

// faults are such sources; lengths is how many tries of that one are counted.
func faults(lengths func() int) []fault {
	good := newImage("GOOD", 1<<20, true)
	data := newImage("DATA", 1<<20, false)
	cut := good
	cut.size = 900 << 10
	bytesOf := func(b []byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) } // who hangs up needs no rest
	}
	page := []byte("<!DOCTYPE html><html><title>Sign in</title><body>Please sign in first</body></html>")
	return []fault{
		{name: "404", reason: "source_status", serve: http.NotFound},
		{name: "page", reason: "source_is_html", serve: bytesOf(page)},
		{name: "loop", reason: "too_many_redirects", serve: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusFound)
		}},
		{name: "elsewhere", reason: "url_not_allowed", serve: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.2/image.iso", http.StatusFound)
		}},
		{name: "metadata", reason: "url_not_allowed", serve: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		}},
		{name: "endless", reason: "iso_too_large", serve: endless},
		{name: "large", reason: "iso_too_large", serve: newImage("LARGE", 3<<20, true).serve},
		{name: "gzip", reason: "content_encoded", serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.Copy(z, good.reader())
			_ = z.Close()
		}},
		{name: "text", reason: "not_an_iso", serve: bytesOf(bytes.Repeat([]byte("not an image\n"), 10_000))},
		{name: "empty", reason: "not_an_iso", serve: bytesOf(nil)},
		{name: "incomplete", reason: "iso_truncated", serve: cut.serve},
		{name: "data", reason: "iso_not_bootable", serve: data.serve},
		{name: "other", reason: "checksum_mismatch", serve: good.serve, body: map[string]any{"checksum": "sha256:" + data.sha256()}},
		{name: "busy", reason: "source_status", heals: true, serve: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "later", http.StatusServiceUnavailable)
		}},
		{name: "truncated", reason: "source_truncated", heals: true, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(good.size))
			_, _ = w.Write(good.head)
			panic(http.ErrAbortHandler)
		}},
		{name: "lengths", reason: "source_wrong_length", heals: true, serve: wrongLength(good, lengths)},
	}
}

// endless never stops by itself.
func endless(w http.ResponseWriter, _ *http.Request) {
	block := newImage("ENDLESS", 1<<20, true).head
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// tries is how often a download is tried when it does not get on.
const tries = 9

// wrongLength sends the start of an image, hangs up on whoever asks for the
// rest, and on the last try announces two lengths for it. The server says how
// many tries it has counted: one that a kill ends is not.
func wrongLength(i image, counted func() int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", i.etag())
		switch counted() {
		case 0:
			w.Header().Set("Content-Length", fmt.Sprint(i.size))
			_, _ = w.Write(i.head)
		case tries - 1:
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", len(i.head), i.size-1, i.size))
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 1000))
			return
		}
		panic(http.ErrAbortHandler)
	}
}

// TestFaultyImports imports from sources that are of no use. Each import fails
// for its own reason; the ISO stays listed with it until it is deleted, and no
// file is left.
func TestFaultyImports(t *testing.T) {
	needBinary(t)
	t.Parallel()
	o := newOrigin(t)
	s := startDemo(t, allow, fmt.Sprintf("--fetch-max-size=%d", mostBytes), "--import-workers=16")
	c := s.client()
	isos := map[string]api.ISO{}
	all := faults(func() int { return failures(s, o.URL+"/lengths") })
	for _, f := range all {
		o.mux.HandleFunc("/"+f.name, f.serve)
		body := isoBody("TPA1", o.URL+"/"+f.name, true)
		for k, v := range f.body {
			body[k] = v
		}
		var iso api.ISO
		c.want(http.StatusOK, "POST", "/vps/iso", body, &iso)
		isos[f.name] = iso
	}
	s.spend(all, o.URL)
	c = s.client() // where it serves now
	for _, f := range all {
		checkFailed(t, c, f, isos[f.name])
	}
	check(t, s.dir)
	agree(t, s)
	for _, f := range all {
		c.succeed("DELETE", "/vps/iso/"+isos[f.name].ISOID+"?facilityCode=TPA1", nil)
		c.refused(http.StatusNotFound, "iso_not_found", "GET", "/vps/iso/"+isos[f.name].ISOID, nil)
	}
	check(t, s.dir)
	left, err := filepath.Glob(filepath.Join(s.dir, "facilities", "*", "isos", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("with all ISOs deleted there are %q, %v", left, err)
	}
}

// checkFailed holds that an import has failed, and how the ISO shows it.
func checkFailed(t *testing.T, c *client, f fault, iso api.ISO) {
	t.Helper()
	task := c.ended(*iso.TaskID)
	m := metaOf(t, task)
	if task.Result != api.TaskResultFailed || m.ErrorCode != f.reason || m.Error == "" || m.ISOID != iso.ISOID {
		t.Errorf("%s: the task ended %s %+v, want reason %q", f.name, task.Result, m, f.reason)
	}
	got := c.iso(iso.ISOID)
	if got.Ready || zero(got.Reason) != f.reason || got.Status != m.Error {
		t.Errorf("%s: the ISO is %+v, want it not ready for reason %q", f.name, got, f.reason)
	}
	if strings.Contains(got.Status, "/tmp/") || strings.Contains(got.Status, "goroutine") {
		t.Errorf("%s: the status tells what is inside: %s", f.name, got.Status)
	}
	c.refused(http.StatusConflict, "iso_not_ready", "POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID})
}

// spend makes the server try at once what it would try again after a while: a
// restart does, without giving a new budget of tries.
func (s *server) spend(all []fault, origin string) {
	s.t.Helper()
	for try := 1; try < tries; try++ {
		testneed.Eventually(s.t, fmt.Sprintf("the end of try %d", try), func() bool {
			for _, f := range all {
				if f.heals && failures(s, origin+"/"+f.name) < try {
					return false
				}
			}
			return true
		})
		s.kill()
		s.start()
		s.awaitDemo()
	}
}

// failures is how many tries of the import of a URL are counted.
func failures(s *server, url string) int {
	s.t.Helper()
	c := open(s.t, s.dir)
	defer c.db.Close()
	text := rows(c, func(b *[]byte) []any { return []any{b} }, `SELECT coalesce(t.checkpoint, '{}') FROM task t JOIN iso i ON i.task_id = t.id WHERE i.url = ?`, url)[0]
	var saved struct {
		Fetch struct {
			Failures int `json:"failures"`
		} `json:"fetch"`
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		s.t.Fatal(err)
	}
	return saved.Fetch.Failures
}

// TestImportNotAllowed holds that no private address is asked unless the
// server was told to, in the demo too.
func TestImportNotAllowed(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	link := o.serve("/image.iso", newImage("PRIVATE", 1<<20, true))
	s := startDemo(t)
	c := s.client()
	for _, url := range []string{
		link, strings.Replace(link, "127.0.0.1", "localhost", 1), strings.Replace(link, "127.0.0.1", "2130706433", 1),
		"http://10.0.0.1/image.iso", "http://[::1]/image.iso", "http://169.254.169.254/latest", "file:///etc/passwd", "ftp://127.0.0.1/image.iso",
	} {
		a := c.do("POST", "/vps/iso", isoBody("TPA1", url, true))
		reason := ""
		if a.status == http.StatusOK { // refused where the name is resolved
			var iso api.ISO
			if err := json.Unmarshal(a.body, &iso); err != nil {
				t.Fatal(err)
			}
			reason = metaOf(t, c.ended(*iso.TaskID)).ErrorCode
		} else {
			var r refusal
			if err := json.Unmarshal(a.body, &r); err != nil || a.status != http.StatusBadRequest || r.Errors["url"] == "" {
				t.Errorf("%s: %v, want a refusal of the field url", url, a)
			}
			reason = r.Reason
		}
		if reason != "url_not_allowed" {
			t.Errorf("%s: reason %q in %v", url, reason, a)
		}
	}
	if seen := o.seen(); len(seen) != 0 {
		t.Errorf("the source was asked %d times", len(seen))
	}
	check(t, s.dir)
}
