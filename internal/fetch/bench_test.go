package fetch

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const benchBytes = 1 << 30

// benchSource serves a file of 1 GiB from the page cache.
func benchSource(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "source.iso")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := testData(4 << 20)
	for range benchBytes / len(block) {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeFile(w, r, path)
	}))
	b.Cleanup(s.Close)
	return s.URL + "/source.iso"
}

// BenchmarkFetch downloads 1 GiB: hashed, with checkpoints, durable. The
// baseline is BenchmarkCurl, which does not hash.
func BenchmarkFetch(b *testing.B) {
	url := benchSource(b)
	f := New(Options{Allow: loopback})
	path := filepath.Join(b.TempDir(), "image.iso")
	before := resident("VmRSS")
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200)
	b.SetBytes(benchBytes)
	for b.Loop() {
		b.StopTimer()
		os.Remove(path)
		b.StartTimer()
		var keep keeper
		res, err := f.Fetch(b.Context(), Request{URL: url, Path: path, Checkpoint: keep.save})
		if err != nil || res.Bytes != benchBytes {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(float64(resident("VmHWM")-before)/1024, "MiB-RSS-grown")
}

// BenchmarkCurl is curl -o and an fsync.
func BenchmarkCurl(b *testing.B) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		b.Skip("curl is not installed")
	}
	url := benchSource(b)
	path := filepath.Join(b.TempDir(), "image.iso")
	b.SetBytes(benchBytes)
	for b.Loop() {
		b.StopTimer()
		os.Remove(path)
		b.StartTimer()
		if out, err := exec.Command(curl, "-sSo", path, url).CombinedOutput(); err != nil {
			b.Fatal(err, string(out))
		}
		syncPath(b, path)
	}
}

// BenchmarkPair alternates the two, so that both see the same disk.
func BenchmarkPair(b *testing.B) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		b.Skip("curl is not installed")
	}
	url, dir := benchSource(b), b.TempDir()
	f := New(Options{Allow: loopback})
	var ours, theirs time.Duration
	for i := 0; b.Loop(); i++ {
		path := filepath.Join(dir, fmt.Sprint(i))
		start := time.Now()
		if out, err := exec.Command(curl, "-sSo", path, url).CombinedOutput(); err != nil {
			b.Fatal(err, string(out))
		}
		syncPath(b, path)
		theirs += time.Since(start)
		os.Remove(path)
		var keep keeper
		start = time.Now()
		if _, err := f.Fetch(b.Context(), Request{URL: url, Path: path, Checkpoint: keep.save}); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		os.Remove(path)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s-fetch")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s-curl")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

func syncPath(b *testing.B, path string) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

// resident returns a line of /proc/self/status in KiB, 0 where there is none.
func resident(key string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte(key+":"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n
}
