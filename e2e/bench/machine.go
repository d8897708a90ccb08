package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes what is measured on, with the disk below the scratch
// folder. What cannot be found out is left out.
func (b *bench) machine() (string, error) {
	parts := []string{fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	if cpu := field("/proc/cpuinfo", "model name"); cpu != "" {
		parts = append(parts, cpu)
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "kernel "+strings.TrimSpace(string(kernel)))
	}
	if kb, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB memory", float64(kb)/(1<<20)))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		if first, _, ok := strings.Cut(string(load), " "); ok {
			parts = append(parts, "load average "+first+" before the run")
		}
	}
	var all []float64
	for range 5 {
		took, err := b.fsync(b.dir, 20)
		if err != nil {
			return "", err
		}
		all = append(all, took)
	}
	parts = append(parts, "4 KiB append and fsync "+ms(median(all)), runtime.Version())
	return strings.Join(parts, "; "), nil
}

// field is the value of the first line "name: value" in a file, "" if there is
// none.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fsync is the median in milliseconds of n times appending 4 KiB to a file in
// dir and waiting until they are on the disk.
func (b *bench) fsync(dir string, n int) (float64, error) {
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := bytes.Repeat([]byte{0xA5}, 4096)
	var took []float64
	for range n {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, millis(time.Since(start)))
	}
	return median(took), nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// memoryOf returns a line of /proc/PID/status in MiB.
func memoryOf(pid int, name string) (float64, error) {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(field(procFile(pid, "status"), name), " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: this figure needs Linux", pid)
	}
	return kb / 1024, nil
}

// forgetPeak makes VmHWM of a process start anew.
func forgetPeak(pid int) error { return os.WriteFile(procFile(pid, "clear_refs"), []byte("5"), 0) }

// cpuOf is the processor time a process has used, in clock ticks of 10 ms; 0
// where the system does not tell.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // the name may have spaces
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64) // both are numbers in every kernel
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
