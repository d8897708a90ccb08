package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sector is the unit of ISO 9660.
const sector = 2048

// writeImage writes a valid ISO 9660 image of size bytes: descriptors, a root
// directory, and then what cannot be compressed or skipped.
func writeImage(path string, size int64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(imageHead(size)); err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{1}) // the same image each time
	if _, err := io.CopyN(w, random, size-headSectors*sector); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync() // so that nothing of it is written while others are measured
}

// Where things stand in the head, in sectors.
const (
	descriptorSector = 16
	rootSector       = 18
	headSectors      = 20
)

func imageHead(size int64) []byte {
	b := make([]byte, headSectors*sector)
	at := func(n int) []byte { return b[n*sector : (n+1)*sector] }
	primary := at(descriptorSector)
	copy(primary, "\x01CD001\x01")
	copy(primary[40:72], "BENCH"+strings.Repeat(" ", 27))
	both32(primary[80:], uint32(size/sector))
	both16(primary[120:], 1)
	both16(primary[124:], 1)
	both16(primary[128:], sector)
	both32(primary[132:], 10)
	root := make([]byte, 34)
	root[0], root[25], root[32] = 34, 2, 1
	both32(root[2:], rootSector)
	both32(root[10:], sector)
	copy(primary[156:], root)
	primary[881] = 1
	copy(at(rootSector), root)
	copy(at(descriptorSector+1), "\xffCD001\x01")
	return b
}

func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// source serves an image over loopback.
type source struct {
	url   string
	size  int64
	close func() error
}

// source makes an image and serves it.
func (b *bench) source() (*source, error) {
	size := int64(1 << 30)
	if b.short {
		size = 128 << 20
	}
	dir, err := b.sub("source")
	if err != nil {
		return nil, err
	}
	if err := writeImage(filepath.Join(dir, "bench.iso"), size); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go srv.Serve(l) // ends with close
	return &source{url: fmt.Sprintf("http://%s/bench.iso", l.Addr()), size: size, close: srv.Close}, nil
}

// importer starts a server that may fetch from loopback.
func (b *bench) importer() (*server, error) {
	dir, err := b.sub("import")
	if err != nil {
		return nil, err
	}
	return b.serve(dir, "--fetch-allow", "127.0.0.1/32")
}

// iso is what the bench reads of an ISO.
type iso struct {
	IsoID  string
	Ready  bool
	Status string
}

// importISO imports the image and returns how long it took until it was ready.
// watch, if set, is called now and then meanwhile.
func (s *server) importISO(src *source, watch func() error) (id string, took time.Duration, err error) {
	start := time.Now()
	var i iso
	err = s.call(s.demo.APIKey, "POST", "/vps/iso", map[string]any{
		"facilityCode": "TPA1", "bootable": false, "name": "bench", "description": "", "url": src.url,
	}, &i)
	for err == nil && !i.Ready {
		time.Sleep(5 * time.Millisecond) // polling harder would take from the import
		if err = s.call(s.demo.APIKey, "GET", "/vps/iso/"+i.IsoID, nil, &i); err == nil && watch != nil {
			err = watch()
		}
		if err == nil && time.Since(start) > 5*time.Minute {
			err = fmt.Errorf("the import is at %q after five minutes", i.Status)
		}
	}
	return i.IsoID, time.Since(start), err
}

func (s *server) deleteISO(id string) error {
	var t task
	if err := s.call(s.demo.APIKey, "DELETE", "/vps/iso/"+id, nil, &t); err != nil {
		return err
	}
	_, err := s.await(t.TaskID)
	return err
}

// imports compares an import, verified and durable, with curl and an fsync.
func (b *bench) imports() (_ []row, err error) {
	src, err := b.source()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	s, err := b.importer()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	ours := func() (float64, error) {
		id, took, err := s.importISO(src, nil)
		if err != nil {
			return 0, err
		}
		return took.Seconds(), s.deleteISO(id)
	}
	curl := func() (float64, error) { return b.curl(src) }
	if _, err := turns(1, ours, curl); err != nil {
		return nil, err
	}
	got, err := turns(b.rounds, ours, curl)
	if err != nil {
		return nil, err
	}
	r, mib := ratio(got[0], got[1]), float64(src.size>>20)
	speed := func(of []float64) string { return fmt.Sprintf("%.2f s, %.0f MiB/s", median(of), mib/median(of)) }
	return []row{{
		figure: fmt.Sprintf("import of an ISO of %.0f MiB, verified and durable, against curl -o and fsync", mib),
		ours:   speed(got[0]), baseline: speed(got[1]), ratio: fmt.Sprintf("%.2f", r), target: "at most 1.15", met: r <= 1.15,
	}}, nil
}

// curl downloads the image with curl and makes it durable; it returns seconds.
func (b *bench) curl(src *source) (float64, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	path := filepath.Join(b.dir, "curl.iso")
	start := time.Now()
	if err := exec.CommandContext(ctx, "curl", "-sS", "-f", "-o", path, src.url).Run(); err != nil {
		return 0, fmt.Errorf("curl: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(f.Sync(), f.Close())
	took := time.Since(start)
	return took.Seconds(), errors.Join(err, os.Remove(path))
}
