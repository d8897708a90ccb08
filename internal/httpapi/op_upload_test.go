package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
)

// uploadBytes is more than any other body may have.
const uploadBytes = 3 << 20

// long is a good image of uploadBytes.
func long() []byte { return append(image(), make([]byte, uploadBytes-len(image()))...) }

// anUpload makes of a request for a download one for an upload.
func anUpload(f map[string]any) {
	delete(f, "url")
	f["upload"] = map[string]any{"size": uploadBytes}
}

// uploadISO leaves an ISO that waits for the rest of its upload.
func (g *golden) uploadISO() {
	const path = "/vps/iso"
	a := g.ok("createISO", "success, an upload", path, g.form("", anUpload))
	u := g.begun(a)
	g.send(u, 0, long()[:uploadBytes/4])
	g.ok("getISO", "success, an upload", "/vps/iso/"+u.ISOID, "")
	g.no(400, "createISO", "an upload and a url", path, g.form("http://images.example.org/x.iso", func(f map[string]any) {
		f["upload"] = map[string]any{"size": 1}
	}))
	g.no(400, "createISO", "a large upload", path, g.form("", func(f map[string]any) { anUpload(f); f["upload"] = map[string]any{"size": 1<<30 + 1} }))
	g.no(400, "createISO", "an empty upload", path, g.form("", func(f map[string]any) { anUpload(f); f["upload"] = map[string]any{"size": 0} }))
	g.no(409, "createISO", "no uploads there", path, g.form("", func(f map[string]any) { anUpload(f); f["facilityCode"] = "LAX3" }))
}

// uploading is an ISO that was accepted as an upload.
type uploading struct {
	ISOID, TaskID, UploadURL string
	UploadOffset             *int64
}

// path is that of the upload, below the API's base.
func (u uploading) path() string { return strings.TrimPrefix(u.UploadURL, "/api/v2") }

func (w *world) begun(a answer) (u uploading) {
	w.t.Helper()
	w.must(json.Unmarshal(a.body, &u))
	if a.status != http.StatusOK || u.UploadURL != "/api/v2/vps/iso/"+u.ISOID+"/upload" || u.UploadOffset == nil || *u.UploadOffset != 0 {
		w.t.Fatalf("an upload is answered %d: %s", a.status, a.body)
	}
	return u
}

// upload accepts one of client 7.
func (w *world) upload() uploading {
	w.t.Helper()
	return w.begun(w.ask(w.server, w.keys.client, http.MethodPost, "/vps/iso", (&golden{world: w}).form("", anUpload)))
}

// patch are the headers of a request that sends bytes.
func patch(offset string) []string {
	return []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", offset}
}

// send uploads bytes and checks the answer.
func (w *world) send(u uploading, offset int, b []byte) {
	w.t.Helper()
	a := w.ask(w.server, w.keys.client, http.MethodPatch, u.path(), string(b), patch(strconv.Itoa(offset))...)
	want := strconv.Itoa(offset + len(b))
	if a.status != http.StatusNoContent || a.header.Get("Upload-Offset") != want || a.header.Get("Tus-Resumable") != "1.0.0" || len(a.body) > 0 {
		w.t.Fatalf("PATCH answers %d %v %s, want offset %s", a.status, a.header, a.body, want)
	}
}

// at checks what HEAD says.
func (w *world) at(s *httptest.Server, u uploading, want int) {
	w.t.Helper()
	a := w.ask(s, w.keys.client, http.MethodHead, u.path(), "", "Tus-Resumable", "1.0.0")
	if a.status != http.StatusOK || a.header.Get("Upload-Offset") != strconv.Itoa(want) || a.header.Get("Upload-Length") != strconv.Itoa(uploadBytes) ||
		a.header.Get("Cache-Control") != "no-store" || a.header.Get("Tus-Resumable") != "1.0.0" {
		w.t.Fatalf("HEAD answers %d %v, want offset %d", a.status, a.header, want)
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, b := w.upload(), long()
	w.at(w.server, u, 0)
	w.send(u, 0, nil)
	w.send(u, 0, b[:1000])
	w.at(w.server, u, 1000)
	w.send(u, 1000, b[1000:])
	if k := w.ended(u.TaskID); k.State != task.Done {
		t.Fatalf("the import has failed: %s %s", k.Reason, k.Error)
	}
	w.at(w.server, u, uploadBytes)
	var got struct {
		Ready                       bool
		Size                        int64
		Status, URL                 string
		UploadURL, UploadOffset, ID *string
	}
	w.read(w.keys.client, "/vps/iso/"+u.ISOID, &got)
	if !got.Ready || got.Size != uploadBytes || got.Status != "Ready" || got.URL != "" || got.UploadURL != nil || got.UploadOffset != nil {
		t.Errorf("imported: %+v", got)
	}
	a := w.ask(w.server, w.keys.client, http.MethodOptions, u.path(), "")
	if a.status != http.StatusNoContent || a.header.Get("Tus-Version") != "1.0.0" || a.header.Get("Tus-Max-Size") != "1073741824" || a.header.Get("Tus-Extension") != "" {
		t.Errorf("OPTIONS answers %d %v", a.status, a.header)
	}
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.upload()
	w.send(u, 0, long()[:1000])
	download := w.imported(w.keys.client)
	good := patch("1000")
	with := func(name, value string) []string {
		out := append([]string{}, good...)
		for i := 0; i < len(out); i += 2 {
			if out[i] == name {
				out[i+1] = value
			}
		}
		return out
	}
	for _, c := range []struct {
		what, key, method, path string
		header                  []string
		body                    string
		status                  int
		reason                  string
	}{
		{"no key", "", "PATCH", u.path(), good, "x", 403, "key_missing"},
		{"a key for reading", w.keys.reader, "PATCH", u.path(), good, "x", 403, "permission_missing"},
		{"another client", w.keys.stranger, "PATCH", u.path(), good, "x", 404, "iso_not_found"},
		{"no such ISO", w.keys.client, "PATCH", "/vps/iso/" + nobody + "/upload", good, "x", 404, "iso_not_found"},
		{"a long id", w.keys.client, "PATCH", "/vps/iso/" + strings.Repeat("x", 65) + "/upload", good, "x", 404, "route_not_found"},
		{"a download", w.keys.client, "PATCH", "/vps/iso/" + download + "/upload", good, "x", 404, "upload_not_found"},
		{"no version", w.keys.client, "PATCH", u.path(), good[2:], "x", 412, "tus_version"},
		{"another version", w.keys.client, "PATCH", u.path(), with("Tus-Resumable", "0.2.2"), "x", 412, "tus_version"},
		{"JSON", w.keys.client, "PATCH", u.path(), with("Content-Type", "application/json"), "{}", 415, "upload_content_type"},
		{"no type", w.keys.client, "PATCH", u.path(), with("Content-Type", ""), "x", 415, "upload_content_type"},
		{"no offset", w.keys.client, "PATCH", u.path(), good[:4], "x", 400, "upload_offset_malformed"},
		{"a negative offset", w.keys.client, "PATCH", u.path(), with("Upload-Offset", "-1"), "x", 400, "upload_offset_malformed"},
		{"a huge offset", w.keys.client, "PATCH", u.path(), with("Upload-Offset", strings.Repeat("9", 40)), "x", 400, "upload_offset_malformed"},
		{"behind", w.keys.client, "PATCH", u.path(), with("Upload-Offset", "0"), "x", 409, "upload_offset"},
		{"ahead", w.keys.client, "PATCH", u.path(), with("Upload-Offset", "1001"), "x", 409, "upload_offset"},
		{"too long", w.keys.client, "PATCH", u.path(), good, strings.Repeat("x", uploadBytes-999), 400, "upload_too_long"},
		{"read it", w.keys.client, "GET", u.path(), nil, "", 405, "method_not_allowed"},
		{"in disguise", w.keys.client, "POST", u.path(), append(good, "X-HTTP-Method-Override", "PATCH"), "x", 405, "method_not_allowed"},
	} {
		a := w.ask(w.server, c.key, c.method, c.path, c.body, c.header...)
		if a.status != c.status || reasonOf(t, a) != c.reason {
			t.Errorf("%s: %d %s, want %d %s", c.what, a.status, a.body, c.status, c.reason)
		}
		if c.status == 412 && a.header.Get("Tus-Version") != "1.0.0" {
			t.Errorf("%s: the version is not told: %v", c.what, a.header)
		}
		if c.status == 405 && a.header.Get("Allow") != "HEAD, PATCH, OPTIONS" {
			t.Errorf("%s: allowed is %q", c.what, a.header.Get("Allow"))
		}
	}
	for what, c := range map[string]struct {
		key     string
		version string
		status  int
	}{
		"another client": {w.keys.stranger, "1.0.0", 404}, "a key for reading": {w.keys.reader, "1.0.0", 403}, "no key": {"", "1.0.0", 403},
		"another version": {w.keys.client, "2.0.0", 412},
	} {
		if a := w.ask(w.server, c.key, http.MethodHead, u.path(), "", "Tus-Resumable", c.version); a.status != c.status || a.header.Get("Upload-Offset") != "" {
			t.Errorf("HEAD, %s: %d %v, want %d", what, a.status, a.header, c.status)
		}
	}
	w.at(w.server, u, 1000)
}

// A request that is repeated under its key makes one upload, also where its
// answer was lost.
func TestUploadRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, first := range map[string]*httptest.Server{
		"stored": w.server, "lost": w.serve(func(d *httpapi.Deps) { d.Idempotency = forgetful{d.Idempotency} }),
	} {
		then := w.serve(func(d *httpapi.Deps) { d.Now = func() time.Time { return noon.Add(time.Minute) } })
		body := (&golden{world: w}).form("", anUpload)
		a := w.ask(first, w.keys.client, http.MethodPost, "/vps/iso", body, idempotency.Header, name)
		u := w.begun(a)
		w.send(u, 0, long()[:1000])
		b := w.ask(then, w.keys.client, http.MethodPost, "/vps/iso", body, idempotency.Header, name)
		if b.status != http.StatusOK || !bytes.Equal(a.body, b.body) || b.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: first %s, then %d %s", name, a.body, b.status, b.body)
		}
		other := (&golden{world: w}).form("", func(f map[string]any) { anUpload(f); f["upload"] = map[string]any{"size": 5} })
		if c := w.ask(then, w.keys.client, http.MethodPost, "/vps/iso", other, idempotency.Header, name); c.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: another size under the same key: %d %s", name, c.status, c.body)
		}
	}
}

// slow begins to send the first bytes of an upload and leaves the rest to the
// returned pipe.
func (w *world) slow(s *httptest.Server, u uploading, first []byte) (*io.PipeWriter, <-chan answer) {
	w.t.Helper()
	r, body := io.Pipe()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPatch, s.URL+u.UploadURL, r)
	w.must(err)
	req.Header.Set("X-API-KEY", w.keys.client)
	for h := patch("0"); len(h) > 0; h = h[2:] {
		req.Header.Set(h[0], h[1])
	}
	out := make(chan answer, 1)
	go func() {
		resp, err := s.Client().Do(req)
		if err != nil {
			out <- answer{body: []byte(err.Error())}
			return
		}
		b, _ := io.ReadAll(resp.Body) // a body that breaks off is not the one that is wanted
		resp.Body.Close()
		out <- answer{status: resp.StatusCode, header: resp.Header, body: b}
	}()
	_, err = body.Write(first)
	w.must(err)
	return body, out
}

// An upload outlasts the times that the server allows for other requests.
func TestUploadOutlastsTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, err := httpapi.New(w.deps)
	w.must(err)
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadHeaderTimeout, s.Config.ReadTimeout, s.Config.WriteTimeout = time.Minute, 50*time.Millisecond, 100*time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	u, b := w.upload(), long()
	body, out := w.slow(s, u, b[:1000])
	began := time.Now()
	await(w, "more time to pass than is allowed", func(context.Context) (struct{}, bool, error) {
		return struct{}{}, time.Since(began) > 300*time.Millisecond, nil
	})
	_, err = io.Copy(body, bytes.NewReader(b[1000:]))
	w.must(err)
	w.must(body.Close())
	if a := <-out; a.status != http.StatusNoContent || a.header.Get("Upload-Offset") != strconv.Itoa(uploadBytes) {
		t.Fatalf("answered %d %v %s", a.status, a.header, a.body)
	}
	if k := w.ended(u.TaskID); k.State != task.Done {
		t.Errorf("the import has failed: %s %s", k.Reason, k.Error)
	}
}

// A server that stops does not wait for the rest of an upload, and keeps what
// has come; so it does where the client breaks off.
func TestUploadBrokenOff(t *testing.T) {
	t.Parallel()
	for name, breakOff := range map[string]func(stop chan struct{}, body *io.PipeWriter){
		"stop":   func(stop chan struct{}, _ *io.PipeWriter) { close(stop) },
		"client": func(_ chan struct{}, body *io.PipeWriter) { body.CloseWithError(io.ErrClosedPipe) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stop := make(chan struct{})
			s := w.serve(func(d *httpapi.Deps) { d.Stopping = stop })
			u, b := w.upload(), long()
			body, out := w.slow(s, u, b[:uploadBytes/2])
			await(w, "the request to write", func(context.Context) (struct{}, bool, error) {
				info, err := os.Stat(filepath.Join(w.deps.ISOs.Uploads.Folder, u.ISOID+".part"))
				return struct{}{}, err == nil && info.Size() > 0, nil
			})
			breakOff(stop, body)
			a := <-out
			if name == "stop" && (a.status != http.StatusServiceUnavailable || reasonOf(t, a) != "not_ready") {
				t.Errorf("a server that stops answers %d %s", a.status, a.body)
			}
			body.Close()
			i := await(w, "the request to end", func(ctx context.Context) (int64, bool, error) {
				i, err := w.deps.ISOs.Uploaded(ctx, access.Scope{All: true}, u.ISOID)
				return i.Done, i.Done > 0, err // it records at its end only, so few are the bytes
			})
			w.at(w.server, u, int(i))
			w.send(u, int(i), b[i:])
			if k := w.ended(u.TaskID); k.State != task.Done {
				t.Errorf("the import has failed: %s %s", k.Reason, k.Error)
			}
		})
	}
}
