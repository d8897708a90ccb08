package fetch

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWholeFile(t *testing.T) {
	t.Parallel()
	data := testData(3<<20 + 17)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("User-Agent") != "probe/1" ||
			r.Header.Get("Range") != "" || r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("header %v", r.Header)
		}
		w.Header().Set("Content-Type", "application/x-iso9660-image")
		content(data, "v1")(w, r)
	})
	opt := testOptions()
	opt.UserAgent = "probe/1"
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, testData(5<<20), 0o600); err != nil { // what is there goes
		t.Fatal(err)
	}
	var keep keeper
	var last int64
	res, err := New(opt).Fetch(t.Context(), Request{
		URL: s.URL + "/a.iso?token=abc", Path: path, Digests: []string{"sha512", "md5"}, Checkpoint: keep.save,
		Progress: func(done, total int64) {
			if done <= last || total != int64(len(data)) {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		},
	})
	wantFile(t, res, err, path, data)
	s512, m5 := sha512.Sum512(data), md5.Sum(data)
	if res.Digests["sha512"] != hex.EncodeToString(s512[:]) || res.Digests["md5"] != hex.EncodeToString(m5[:]) {
		t.Errorf("digests %v", res.Digests)
	}
	if res.ContentType != "application/x-iso9660-image" || res.FinalURL != s.URL+"/a.iso?token=***" || res.Resumed {
		t.Errorf("result %+v", res)
	}
	if last != int64(len(data)) || keep.n < 3 {
		t.Errorf("progress ended at %d, %d checkpoints", last, keep.n)
	}
}

// After the last checkpoint the same Result needs no source any more.
func TestFinishedStateNeedsNoSource(t *testing.T) {
	t.Parallel()
	data := testData(700_000)
	for name, h := range map[string]http.HandlerFunc{"length": content(data, "v1"), "no length": chunked(data)} {
		s := httptest.NewServer(h)
		path := filepath.Join(t.TempDir(), "image")
		var keep keeper
		req := Request{URL: s.URL, Path: path, Checkpoint: keep.save}
		first, err := New(testOptions()).Fetch(t.Context(), req)
		s.Close()
		wantFile(t, first, err, path, data)
		req.State = keep.state(t)
		second, err := New(testOptions()).Fetch(t.Context(), req)
		wantFile(t, second, err, path, data)
		if second.FinalURL != first.FinalURL || second.ContentType != first.ContentType || !second.Resumed {
			t.Errorf("%s: %+v, first %+v", name, second, first)
		}
	}
}

// chunked serves data without a length and without validators.
func chunked(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for part := data; len(part) > 0; part = part[min(len(part), 50_000):] {
			_, _ = w.Write(part[:min(len(part), 50_000)])
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	t.Parallel()
	data := testData(1000)
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("another origin is told %v", r.Header)
		}
		content(data, "v1")(w, r)
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != "secretword" {
			t.Errorf("%s: credentials %q %q", r.URL, user, pass)
		}
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/b", http.StatusMovedPermanently)
			return
		}
		http.Redirect(w, r, other.URL+"/c?sig=secretword#x", http.StatusSeeOther)
	})
	res, path, err := fetch(t, testOptions(), strings.Replace(s.URL, "http://", "http://me:secretword@", 1)+"/a")
	wantFile(t, res, err, path, data)
	if res.FinalURL != other.URL+"/c?sig=***" {
		t.Errorf("final URL %s", res.FinalURL)
	}
}

func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/?token=secretword", http.StatusFound)
		},
		"location": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://u:secretword@[::1")
			w.WriteHeader(302)
		},
		"cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s := serve(t, h)
		var keep keeper
		_, err := New(testOptions()).Fetch(t.Context(), Request{
			URL:  strings.Replace(s.URL, "http://", "http://me:secretword@", 1) + "/?token=secretword",
			Path: filepath.Join(t.TempDir(), "image"), Checkpoint: keep.save,
		})
		if err == nil || strings.Contains(err.Error(), "secretword") || bytes.Contains(keep.last, []byte("secretword")) {
			t.Errorf("%s: %v, state %s", name, err, keep.last)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	data := testData(100_000)
	s := httptest.NewTLSServer(content(data, "v1"))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = quiet()
	_, _, err := fetch(t, testOptions(), s.URL)
	if e := wantReason(t, err, ReasonTLS); !e.Permanent || !strings.Contains(e.Text, "certificate") {
		t.Errorf("%+v", e)
	}
	opt := testOptions()
	opt.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	res, path, err := fetch(t, opt, s.URL)
	wantFile(t, res, err, path, data)

	plain := serve(t, content(data, "v1"))
	plain.Config.ErrorLog = quiet()
	_, _, err = fetch(t, opt, strings.Replace(plain.URL, "http:", "https:", 1))
	wantReason(t, err, ReasonTLS)

	down := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(down.Close)
	_, _, err = fetch(t, opt, down.URL)
	if e := wantReason(t, err, ReasonURLNotAllowed); !strings.Contains(e.Text, "https to http") {
		t.Error(e.Text)
	}
}

func TestUnknownDigest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "image")
	_, err := New(testOptions()).Fetch(t.Context(), Request{URL: "http://127.0.0.1/", Path: path, Digests: []string{"crc32"}})
	if err == nil || !strings.Contains(err.Error(), "crc32") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was made")
	}
}

func TestCheckpointErrorEndsTheDownload(t *testing.T) {
	t.Parallel()
	lost := errors.New("lease lost")
	s := serve(t, content(testData(2<<20), "v1"))
	_, err := New(testOptions()).Fetch(t.Context(), Request{
		URL: s.URL, Path: filepath.Join(t.TempDir(), "image"), Checkpoint: func(State) error { return lost },
	})
	if !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	o := New(Options{}).opt
	if o.MaxBytes <= 0 || o.StallTimeout <= 0 || o.DialTimeout <= 0 || o.HeaderTimeout <= 0 || o.MinRate <= 0 || o.RateWindow <= 0 ||
		o.MaxRedirects <= 0 || o.Retries <= 0 || o.CheckpointEvery <= 0 || o.UserAgent == "" {
		t.Errorf("a limit is open: %+v", o)
	}
	if o := New(Options{Retries: -1, MaxRedirects: -1}).opt; o.Retries != 0 || o.MaxRedirects != 0 {
		t.Errorf("negative means none: %+v", o)
	}
	for n := 1; n < 100; n++ {
		most := time.Minute
		if n < 7 {
			most = time.Second << (n - 1)
		}
		if d := backoff(n); d < most/2 || d > most {
			t.Errorf("backoff %d is %s", n, d)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("sleep: %v", err)
	}
	if err := sleep(t.Context(), 0); err != nil {
		t.Errorf("sleep: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	data := testData(1 << 20)
	s := serve(t, cutAfter(300_000, content(data, "v1")))
	f, dir := New(testOptions()), t.TempDir()
	errs := make(chan error)
	for i := range 8 {
		go func() {
			res, err := f.Fetch(t.Context(), Request{URL: s.URL, Path: filepath.Join(dir, string(rune('a'+i)))})
			if err == nil && res.SHA256 != sha(data) {
				err = io.ErrUnexpectedEOF
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
