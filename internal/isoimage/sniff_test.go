package isoimage

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
)

func TestNotISO(t *testing.T) {
	t.Parallel()
	blob := func(at int, s string) []byte {
		b := bytes.Repeat([]byte{0xA7}, 100<<10)
		copy(b[at:], s)
		return b
	}
	disk := make([]byte, 100<<10)
	buildMBR(disk, 0x83, 2048, 100)
	gpt := make([]byte, 100<<10)
	buildGPT(gpt, 100)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(build(full())); err != nil || z.Close() != nil {
		t.Fatal("cannot pack the sample")
	}
	tests := []struct {
		name, found string
		file        []byte
	}{
		{"nothing", "empty", nil},
		{"one byte", "short", []byte{0xA7}},
		{"30 KiB of data", "short", blob(0, "")[:30<<10]},
		{"start of a hybrid image", "short", build(full())[:33<<10]},
		{"zeros", "zeros", make([]byte, 1<<20)},
		{"few zeros", "zeros", make([]byte, 100)},
		{"data", "data", blob(0, "")},
		{"gzip of an image", "gzip", packed.Bytes()},
		{"xz", "xz", blob(0, "\xfd7zXZ\x00")},
		{"zstd", "zstd", blob(0, "\x28\xb5\x2f\xfd")},
		{"bzip2", "bzip2", blob(0, "BZh9")},
		{"lz4", "lz4", blob(0, "\x04\x22\x4d\x18")},
		{"zip", "zip", blob(0, "PK\x03\x04")},
		{"7z", "7z", blob(0, "7z\xbc\xaf\x27\x1c")},
		{"rar", "rar", blob(0, "Rar!\x1a\x07\x01\x00")},
		{"tar", "tar", blob(257, "ustar  \x00")},
		{"qcow2", "qcow2", blob(0, "QFI\xfb\x00\x00\x00\x03")},
		{"vmdk", "vmdk", blob(0, "KDMV")},
		{"vmdk of ESX", "vmdk", blob(0, "COWD")},
		{"vmdk descriptor", "vmdk", []byte("# Disk DescriptorFile\nversion=1\n")},
		{"dynamic vhd", "vhd", blob(0, "conectix")},
		{"fixed vhd", "vhd", blob(100<<10-512, "conectix")},
		{"vhdx", "vhdx", blob(0, "vhdxfile")},
		{"vdi", "vdi", blob(64, "\x7f\x10\xda\xbe")},
		{"dmg", "dmg", blob(100<<10-512, "koly")},
		{"squashfs", "squashfs", blob(0, "hsqs")},
		{"raw CD sectors", "rawcd", blob(0, "\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00")},
		{"High Sierra", "high-sierra", blob(32768+9, "CDROM\x01")},
		{"elf", "elf", blob(0, "\x7fELF\x02")},
		{"pe", "pe", blob(0, "MZ\x90")},
		{"pdf", "pdf", blob(0, "%PDF-1.7")},
		{"deb", "deb", blob(0, "!<arch>\n")},
		{"ext4", "ext", blob(1080, "\x53\xef")},
		{"FAT16", "fat", blob(54, "FAT16   ")},
		{"FAT32", "fat", blob(82, "FAT32   ")},
		{"disk with MBR", "disk", disk},
		{"disk with GPT", "disk", gpt},
		{"html", "html", []byte("<!DOCTYPE html><title>x</title>")},
		{"xml", "xml", []byte(`<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`)},
		{"json", "json", []byte(`{"error": "gone"}`)},
		{"text", "text", []byte("404 page not found\n")},
		{"text cut inside a character", "text", []byte("é" + strings.Repeat("x", 509) + "é")},
		{"nearly text", "short", []byte("text\x01")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			info, err := inspectBytes(t, tt.file)
			var e *Error
			if !errors.As(err, &e) || e.Reason != ReasonNotISO || e.Found != tt.found {
				t.Fatalf("got %+v, %#v; want %q", info, err, tt.found)
			}
			if text := foundText[tt.found]; text == "" || !strings.Contains(e.Text, text) {
				t.Errorf("%q does not say what it is", e.Text)
			}
		})
	}
}

// A disk image stays one with an ISO inside: whoever goes by its signature
// would read what it names as its backing file.
func TestDiskImageWithISOInside(t *testing.T) {
	t.Parallel()
	for _, m := range diskMagics {
		b := build(plain())
		copy(b[m.off:], m.bytes)
		_, err := inspectBytes(t, b)
		var e *Error
		if !errors.As(err, &e) || e.Reason != ReasonNotISO || e.Found != m.found {
			t.Errorf("%s: got %v", m.found, err)
		}
	}
	// An archive in front of an image is an image: programs and ZIPs do hide
	// in the system area of real ones.
	b := build(plain())
	copy(b, "MZ")
	if _, err := inspectBytes(t, b); err != nil {
		t.Errorf("program in the system area: %v", err)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	tests := []struct{ file, found, quote string }{
		{"<html><head><title>Access denied | Mirror</title></head>", "html", "Access denied | Mirror"},
		{"\xef\xbb\xbf \r\n<!DOCTYPE HTML>\n<TITLE lang=en>\n Log in &amp; go\n</TITLE>", "html", "Log in & go"},
		{"<!-- made by hand --><HTML><body><h1>Not found</h1>The page is gone.</body>", "html", "Not found The page is gone."},
		{"<html><title>say \"hi\" \x1b]0;x\x07\u202e</title>", "html", `say "hi" _]0;x__`},
		{"<html><title>" + strings.Repeat("long ", 100) + "</title>", "html", strings.TrimSpace(strings.Repeat("long ", 16))},
		{"<html><title>open", "html", "open"},
		{"<html><title", "html", ""},
		{"<html>\xff\xfe</html", "html", "_"},
		{"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", "xml", "AccessDenied Request has expired"},
		{"{\"error\":\n \"no such file\"}", "json", `{"error": "no such file"}`},
		{"404 page not found\n", "text", "404 page not found"},
	}
	for _, tt := range tests {
		_, err := inspectBytes(t, []byte(tt.file))
		var e *Error
		if !errors.As(err, &e) || e.Found != tt.found {
			t.Errorf("%q: got %#v", tt.file, err)
			continue
		}
		if found, quote := document([]byte(tt.file)); found != tt.found || quote != tt.quote {
			t.Errorf("%q: quoted %q, want %q", tt.file, quote, tt.quote)
		}
		if strings.ContainsAny(e.Text, "\x1b\x07\n\u202e") {
			t.Errorf("%q: unclean text %q", tt.file, e.Text)
		}
	}
}
