package iso

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		i       ISO
		status  string
		percent int
		ready   bool
	}{
		{ISO{State: Queued}, "Queued", 0, false},
		{ISO{State: Downloading}, "0% Downloaded", 0, false},
		{ISO{State: Downloading, Done: 4711}, "0% Downloaded", 0, false},
		{ISO{State: Downloading, Done: 40, Size: 100}, "40% Downloaded", 40, false},
		{ISO{State: Downloading, Done: 999, Size: 1000}, "99% Downloaded", 99, false},
		{ISO{State: Downloading, Done: 1000, Size: 1000}, "99% Downloaded", 100, false},
		{ISO{State: Downloading, Done: 5000, Size: 1000}, "99% Downloaded", 100, false},
		{ISO{State: Downloading, Done: -5, Size: 1000}, "0% Downloaded", 0, false},
		{ISO{State: Downloading, Done: 8 << 40, Size: 16 << 40}, "50% Downloaded", 50, false},
		{ISO{State: Verifying, Done: 1000, Size: 1000}, "Verifying", 100, false},
		{ISO{State: Ready, Done: 1000, Size: 1000}, "Ready", 100, true},
		{ISO{State: Deleting, Before: Ready, Done: 1000, Size: 1000}, "Deleting", 100, false},
		{ISO{State: Failed, Reason: "source_status", Error: "the source answers 404"}, "the source answers 404", 0, false},
	} {
		if got := c.i.Status(); got != c.status {
			t.Errorf("%+v: status %q, want %q", c.i, got, c.status)
		}
		if got := c.i.Percent(); got != c.percent {
			t.Errorf("%+v: %d percent, want %d", c.i, got, c.percent)
		}
		if c.i.Ready() != c.ready {
			t.Errorf("%+v: ready %t", c.i, c.i.Ready())
		}
	}
}

func TestParseChecksum(t *testing.T) {
	t.Parallel()
	hex := func(bytes int) string { return strings.Repeat("0aF9", bytes/2) }
	for in, want := range map[string]string{
		"sha256:" + hex(32):        "sha256:" + strings.ToLower(hex(32)),
		"SHA512:" + hex(64):        "sha512:" + strings.ToLower(hex(64)),
		" md5:" + hex(16) + "\n":   "md5:" + strings.ToLower(hex(16)),
		"sha256:" + hex(30):        "",
		"sha256:" + hex(34):        "",
		"sha512:" + hex(32):        "",
		"md5:" + hex(32):           "",
		"sha1:" + hex(20):          "",
		"sha256" + hex(32):         "",
		"sha256: " + hex(32):       "",
		"sha256:" + hex(30) + "zz": "",
		hex(32):                    "",
		"":                         "",
		":":                        "",
		"sha256:":                  "",
		":" + hex(32):              "",
	} {
		algorithm, digest, err := ParseChecksum(in)
		if want == "" {
			if !errors.Is(err, ErrChecksumForm) {
				t.Errorf("%q: %s:%s, %v", in, algorithm, digest, err)
			}
			continue
		}
		if got := algorithm + ":" + digest; err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", in, got, err, want)
		}
	}
}

func FuzzParseChecksum(f *testing.F) {
	for _, s := range []string{"", ":", "md5:", "sha256:" + strings.Repeat("ab", 32), "SHA512:" + strings.Repeat("CD", 64), "md5:" + strings.Repeat("é", 8)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		algorithm, digest, err := ParseChecksum(s)
		if err != nil {
			if algorithm != "" || digest != "" || !errors.Is(err, ErrChecksumForm) {
				t.Fatalf("%q: %q %q %v", s, algorithm, digest, err)
			}
			return
		}
		if again, same, err := ParseChecksum(algorithm + ":" + digest); err != nil || again != algorithm || same != digest {
			t.Fatalf("%q: %s:%s is not what it says itself: %s:%s %v", s, algorithm, digest, again, same, err)
		}
		if len(digest) != 2*digestBytes[algorithm] || strings.Trim(digest, "0123456789abcdef") != "" {
			t.Fatalf("%q: %s:%s", s, algorithm, digest)
		}
	})
}

func on(kind task.Kind, device int64, isoID string) task.Task {
	return task.Task{Kind: kind, DeviceID: device, ISOID: isoID}
}

func TestPlanDrive(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		now  string
		lane []task.Task
		want string
	}{
		{"", nil, ""},
		{"a", nil, "a"},
		{"", []task.Task{on(KindAttach, 1, "a")}, "a"},
		{"a", []task.Task{on(KindDetach, 1, "a")}, ""},
		{"a", []task.Task{on(KindDetach, 1, "a"), on(KindAttach, 1, "b")}, "b"},
		{"", []task.Task{on(KindAttach, 1, "a"), on(KindDetach, 1, "a")}, ""},
		{"a", []task.Task{on("volume.create", 1, ""), on("device.create", 1, "")}, "a"},
	} {
		if got := planDrive(c.now, c.lane); got != c.want {
			t.Errorf("case %d: %q, want %q", i, got, c.want)
		}
	}
}

func TestCheckFree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		i       ISO
		pending []task.Task
		want    *fault.Error
		names   []string
	}{
		"in no drive":            {ISO{State: Ready}, nil, nil, nil},
		"failed":                 {ISO{State: Failed}, nil, nil, nil},
		"being imported":         {ISO{State: Downloading}, []task.Task{on(KindCreate, 0, "a")}, nil, nil},
		"being deleted":          {ISO{State: Deleting}, nil, ErrDeleting, nil},
		"delete accepted":        {ISO{State: Ready}, []task.Task{on(KindDelete, 0, "a")}, ErrDeleting, nil},
		"in one drive":           {ISO{State: Ready, DeviceIDs: []int64{1001}}, nil, ErrAttached, []string{"device 1001"}},
		"in two drives":          {ISO{State: Ready, DeviceIDs: []int64{1001, 1002}}, nil, ErrAttached, []string{"devices 1001, 1002"}},
		"on its way into one":    {ISO{State: Ready}, []task.Task{on(KindAttach, 1003, "a")}, ErrAttached, []string{"1003"}},
		"on its way out":         {ISO{State: Ready, DeviceIDs: []int64{1001}}, []task.Task{on(KindDetach, 1001, "a")}, nil, nil},
		"in and out":             {ISO{State: Ready}, []task.Task{on(KindAttach, 1001, "a"), on(KindDetach, 1001, "a")}, nil, nil},
		"out and in":             {ISO{State: Ready, DeviceIDs: []int64{1001}}, []task.Task{on(KindDetach, 1001, "a"), on(KindAttach, 1001, "a")}, ErrAttached, []string{"1001"}},
		"out of one of two":      {ISO{State: Ready, DeviceIDs: []int64{1001, 1002}}, []task.Task{on(KindDetach, 1001, "a")}, ErrAttached, []string{"device 1002"}},
		"deleted, then attached": {ISO{State: Ready, DeviceIDs: []int64{1}}, []task.Task{on(KindDelete, 0, "a")}, ErrDeleting, nil},
	} {
		before := fmt.Sprint(c.i.DeviceIDs)
		err := checkFree(c.i, c.pending)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for _, n := range c.names {
			if !strings.Contains(err.Error(), n) {
				t.Errorf("%s: %q does not name %s", name, err, n)
			}
		}
		if got := fmt.Sprint(c.i.DeviceIDs); got != before {
			t.Errorf("%s: the ISO's devices became %s", name, got)
		}
	}
}
