package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var (
	someTime  = time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC)
	someFiles = []file{{"drivebay", 0o755, []byte("program")}, {"LICENSE", 0o644, []byte("text")}}
)

// entry is what an unpacked archive shows of a file.
type entry struct {
	name, text string
	mode       os.FileMode
	at         time.Time
}

var someEntries = []entry{{"x/drivebay", "program", 0o755, someTime}, {"x/LICENSE", "text", 0o644, someTime}}

func TestTar(t *testing.T) {
	packed := twice(t, writeTar)
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for in := tar.NewReader(plain); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s has the owner %d:%d %q", h.Name, h.Uid, h.Gid, h.Uname)
		}
		got = append(got, entry{h.Name, string(text), h.FileInfo().Mode().Perm(), h.ModTime.UTC()})
	}
	want := append([]entry{{"x/", "", 0o755, someTime}}, someEntries...)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestZip(t *testing.T) {
	packed := twice(t, writeZip)
	in, err := zip.NewReader(packed, packed.Size())
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for _, f := range in.File {
		part, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{f.Name, string(text), f.Mode().Perm(), f.Modified.UTC()})
	}
	if !slices.Equal(got, someEntries) {
		t.Errorf("got %v, want %v", got, someEntries)
	}
}

// twice writes an archive and holds that another run gives the same bytes.
func twice(t *testing.T, write func(io.Writer, string, []file, time.Time) error) *bytes.Reader {
	t.Helper()
	var first, second bytes.Buffer
	for _, to := range []*bytes.Buffer{&first, &second} {
		if err := write(to, "x", someFiles, someTime); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs give different bytes")
	}
	return bytes.NewReader(first.Bytes())
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "", "a": "abc"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{
		"unknown target":      {"-targets", "linux/amd64,plan9/amd64"},
		"part of a target":    {"-targets", "linux"},
		"bad version":         {"-version", "1.2.3"},
		"no repository":       {"-root", t.TempDir()},
		"folder in use":       {"-version", "v1.2.3", "-out", full},
		"unknown flag":        {"-nonsense"},
		"folder is no folder": {"-version", "v1.2.3", "-out", filepath.Join(full, "x")},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			if err := run(args, &said); err == nil {
				t.Errorf("%v is taken; it said %s", args, said.String())
			}
		})
	}
}
