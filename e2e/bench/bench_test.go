package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestMedianAndRatio(t *testing.T) {
	t.Parallel()
	list := []float64{3, 1, 2}
	if got := median(list); got != 2 || !slices.Equal(list, []float64{3, 1, 2}) {
		t.Errorf("median %v of %v", got, list)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	if got := ratio([]float64{2, 9, 4}, []float64{1, 3, 4}); got != 2 {
		t.Errorf("ratio: %v", got)
	}
}

// The client reads what a Go server can answer, one answer after the other on
// the same connection.
func TestClient(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/short":
			io.WriteString(w, "short")
		case "/long": // goes out in chunks
			io.WriteString(w, long)
		case "/empty":
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	c, err := dial(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 {
		for path, want := range map[string]string{"/short": "short", "/long": long, "/empty": ""} {
			got, err := c.do([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"))
			if err != nil || string(got) != want {
				t.Errorf("%s: %d bytes, %v; want %d", path, len(got), err, len(want))
			}
		}
		if _, err := c.do([]byte("GET /none HTTP/1.1\r\nHost: x\r\n\r\n")); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("no such path: %v", err)
		}
	}
}

func TestImageHead(t *testing.T) {
	t.Parallel()
	b := imageHead(1 << 30)
	if len(b) != headSectors*sector || string(b[16*sector+1:16*sector+6]) != "CD001" || string(b[17*sector:17*sector+6]) != "\xffCD001" {
		t.Error("the descriptors are not where they belong")
	}
}

func TestGuestRows(t *testing.T) {
	t.Parallel()
	rows, err := guestRows([]byte("goos: linux\nBenchmarkStack/attach-2  \t  10\t  100.0 direct-ms\t  120.5 ours-ms\nBenchmarkStack/grow \t 10\t 1.0 direct-ms\t 12.0 ours-ms\nPASS\n"), 10)
	if err != nil || len(rows) != 2 || !rows[0].met || rows[0].ratio != "1.21" || rows[1].met || rows[1].ours != "12.0 ms" {
		t.Errorf("%+v, %v", rows, err)
	}
	if _, err := guestRows([]byte("FAIL"), 10); err == nil {
		t.Error("no figures, and no error")
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-only", "nothing"}, {"-rounds", "0"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
