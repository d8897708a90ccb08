package compat

import (
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The image's layout, in sectors.
const (
	sector     = 2048
	atPrimary  = 16
	atBoot     = 17
	atEnd      = 18
	atCatalog  = 19
	atRoot     = 20
	atLittle   = 21 // path table, little-endian
	atBig      = 22 // path table, big-endian
	atLoader   = 23
	imageCount = 32
)

// bootable is a small ISO 9660 image that BIOS firmware can start: an empty
// root directory and an El Torito catalogue with one boot image.
func bootable() []byte {
	b := make([]byte, imageCount*sector)
	at := func(n int) []byte { return b[n*sector : (n+1)*sector] }
	little, big := binary.LittleEndian, binary.BigEndian

	p := at(atPrimary)
	copy(p, "\x01CD001\x01")
	blank(p[8:72])
	copy(p[40:], "COMPAT")
	both32(p[80:], imageCount)
	both16(p[120:], 1)
	both16(p[124:], 1)
	both16(p[128:], sector)
	both32(p[132:], 10) // bytes of a path table
	little.PutUint32(p[140:], atLittle)
	big.PutUint32(p[148:], atBig)
	copy(p[156:], directory(0))
	blank(p[190:813])
	copy(p[813:881], never+never+never+never)
	p[881] = 1

	boot := at(atBoot)
	copy(boot, "\x00CD001\x01EL TORITO SPECIFICATION")
	little.PutUint32(boot[71:], atCatalog)
	copy(at(atEnd), "\xffCD001\x01")

	c := at(atCatalog)
	c[0], c[30], c[31] = 1, 0x55, 0xAA                 // for BIOS
	little.PutUint16(c[28:], uint16(0x10000-1-0xAA55)) // all words add up to 0
	c[32] = 0x88                                       // bootable, without emulation
	little.PutUint16(c[38:], 4)                        // sectors of 512 bytes to load
	little.PutUint32(c[40:], atLoader)

	copy(at(atRoot), append(directory(0), directory(1)...))
	copy(at(atLittle), "\x01\x00\x14\x00\x00\x00\x01\x00\x00\x00")
	copy(at(atBig), "\x01\x00\x00\x00\x00\x14\x00\x01\x00\x00")
	copy(at(atLoader), "\xfa\xf4\xeb\xfd") // cli; hlt; and again
	return b
}

// never is a date of a volume descriptor that is not given.
const never = "0000000000000000\x00"

// directory is a record of the root directory: itself (0) or its parent (1).
func directory(name byte) []byte {
	r := make([]byte, 34)
	r[0] = 34
	both32(r[2:], atRoot)
	both32(r[10:], sector)
	r[25] = 2 // a directory
	both16(r[28:], 1)
	r[32], r[33] = 1, name
	return r
}

func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

func blank(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}

// source serves images on loopback.
type source struct {
	*httptest.Server
	image []byte
	open  chan struct{} // closed: /gated.iso answers
}

// serveImages serves, until the test ends: /small.iso, /gated.iso, which is the
// same but waits for open, and /page.iso, which is a web page.
func serveImages(t *testing.T) *source {
	t.Helper()
	s := &source{image: bootable(), open: make(chan struct{})}
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-iso9660-image")
		_, _ = w.Write(s.image) // the server's side judges what arrived
	}
	mux.HandleFunc("/small.iso", send)
	mux.HandleFunc("/gated.iso", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.open:
			send(w, r)
		case <-r.Context().Done():
		case <-time.After(taskLimit):
			http.Error(w, "nobody opened the gate", http.StatusGatewayTimeout)
		}
	})
	mux.HandleFunc("/page.iso", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><html><title>Please log in</title></html>"))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}
