package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// guestsPackage has the rig with real guests; its benchmark measures both sides.
const guestsPackage = "github.com/drivebay/drivebay/e2e/guests"

// guests compares changes of a running guest, asked for through the API until
// their tasks have ended, with libvirt's own calls. Without libvirt the row says so.
func (b *bench) guests() ([]row, error) {
	if _, err := exec.LookPath("libvirtd"); err != nil || os.Getuid() != 0 {
		return []row{{figure: "changes of a running guest: left out, libvirt is not installed or this is not root"}}, nil
	}
	times := 10 * b.rounds
	if b.short {
		times = b.rounds
	}
	cmd := exec.CommandContext(b.ctx, "go", "test", guestsPackage, "-run", "^$", "-bench", "^BenchmarkStack$", "-benchtime", fmt.Sprint(times, "x"))
	cmd.Env = append(os.Environ(), "DRIVEBAY_TEST_REQUIRE=libvirt")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out[max(0, len(out)-4096):])
	}
	return guestRows(out, times)
}

var stackLine = regexp.MustCompile(`BenchmarkStack/(\w+)\S*\s+\d+\s+([\d.]+) direct-ms\s+([\d.]+) ours-ms`)

// guestRows reads what the benchmark wrote.
func guestRows(out []byte, times int) ([]row, error) {
	var rows []row
	for _, m := range stackLine.FindAllSubmatch(out, -1) {
		direct, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return nil, err
		}
		ours, err := strconv.ParseFloat(string(m[3]), 64)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{
			figure: fmt.Sprintf("%s on a running guest until its task is Success, median of %d, against libvirt's own calls", m[1], times),
			ours:   fmt.Sprintf("%.1f ms", ours), baseline: fmt.Sprintf("%.1f ms", direct), ratio: fmt.Sprintf("%.2f", ours/direct),
			target: "at most 1.3 or + 10 ms", met: ours <= 1.3*direct || ours <= direct+10,
		})
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no figures in %q", bytes.TrimSpace(out))
	}
	return rows, nil
}
