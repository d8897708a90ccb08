package worldtest

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"sync"

	"github.com/drivebay/drivebay/internal/fetch"
)

// Source is where images come from: an iso.Fetcher without a network. It
// keeps to what fetch.Fetcher promises: bytes that were checkpointed are not
// asked for again.
type Source struct {
	mu     sync.Mutex
	images map[string][]byte
	errs   map[string]error
	hooks  map[string]func(ctx context.Context, done int) error
	served map[string]int
	calls  map[string]int
}

// NewSource returns a source without images.
func NewSource() *Source {
	return &Source{
		images: map[string][]byte{}, errs: map[string]error{}, served: map[string]int{}, calls: map[string]int{},
		hooks: map[string]func(context.Context, int) error{},
	}
}

// Put offers an image at the URL.
func (s *Source) Put(url string, image []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[url] = image
}

// Fail makes downloads of the URL end with err; nil takes it back.
func (s *Source) Fail(url string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs[url] = err
}

// Hook is called ahead of every piece of a download and at its end, with the
// bytes so far; its error ends the download.
func (s *Source) Hook(url string, f func(ctx context.Context, done int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks[url] = f
}

// Served is how many bytes of the URL were sent, and in how many downloads.
func (s *Source) Served(url string) (bytes, downloads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[url], s.calls[url]
}

// CheckURL is in iso.Fetcher.
func (s *Source) CheckURL(raw string) error { return fetch.New(fetch.Options{}).CheckURL(raw) }

// Pieces is in how many pieces a download comes, each checkpointed.
const Pieces = 4

// Fetch is in iso.Fetcher.
func (s *Source) Fetch(ctx context.Context, r fetch.Request) (fetch.Result, error) {
	s.mu.Lock()
	image, err, hook := s.images[r.URL], s.errs[r.URL], s.hooks[r.URL]
	s.calls[r.URL]++
	s.mu.Unlock()
	if err != nil {
		return fetch.Result{}, err
	}
	if image == nil {
		return fetch.Result{}, &fetch.Error{Reason: fetch.ReasonStatus, Text: "the source answers 404", Permanent: true}
	}
	f, err := os.OpenFile(r.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fetch.Result{}, err
	}
	defer f.Close()
	done, resumed := 0, false
	if st, err := f.Stat(); err == nil && r.State != nil && st.Size() >= r.State.Bytes && r.State.Bytes > 0 {
		done, resumed = int(r.State.Bytes), true
	}
	if err := f.Truncate(int64(done)); err != nil {
		return fetch.Result{}, err
	}
	for {
		if hook != nil {
			if err := hook(ctx, done); err != nil {
				return fetch.Result{}, err
			}
		}
		if err := ctx.Err(); err != nil {
			return fetch.Result{}, err
		}
		if done == len(image) {
			return result(r, resumed)
		}
		n := min((len(image)+Pieces-1)/Pieces, len(image)-done)
		if _, err := f.WriteAt(image[done:done+n], int64(done)); err != nil {
			return fetch.Result{}, err
		}
		done += n
		s.mu.Lock()
		s.served[r.URL] += n
		s.mu.Unlock()
		if r.Progress != nil {
			r.Progress(int64(done), int64(len(image)))
		}
		if err := r.Checkpoint(fetch.State{Bytes: int64(done), Total: int64(len(image))}); err != nil {
			return fetch.Result{}, err
		}
	}
}

func result(r fetch.Request, resumed bool) (fetch.Result, error) {
	all, err := os.ReadFile(r.Path)
	if err != nil {
		return fetch.Result{}, err
	}
	res := fetch.Result{Bytes: int64(len(all)), SHA256: Digest("sha256", all), Digests: map[string]string{}, Resumed: resumed}
	for _, a := range r.Digests {
		res.Digests[a] = Digest(a, all)
	}
	return res, nil
}

// Digest is the sha256, sha512 or md5 of b, in lower-case hex.
func Digest(algorithm string, b []byte) string {
	switch algorithm {
	case "sha256":
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	case "sha512":
		sum := sha512.Sum512(b)
		return hex.EncodeToString(sum[:])
	default:
		sum := md5.Sum(b)
		return hex.EncodeToString(sum[:])
	}
}

// Image is a small ISO 9660 image with the label, bootable by BIOS if boot.
func Image(label string, boot bool) []byte {
	const sector, sectors = 2048, 48
	b := make([]byte, sectors*sector)
	le, be := binary.LittleEndian, binary.BigEndian
	both := func(at []byte, v uint32) { le.PutUint32(at, v); be.PutUint32(at[4:], v) }
	root := func(at []byte) {
		at[0], at[25], at[32] = 34, 2, 1
		both(at[2:], 20)
		both(at[10:], sector)
	}
	primary := b[16*sector:]
	copy(primary, "\x01CD001\x01")
	copy(primary[40:72], label+strings.Repeat(" ", 32))
	both(primary[80:], sectors)
	primary[120], primary[123], primary[124], primary[127] = 1, 1, 1, 1
	le.PutUint16(primary[128:], sector)
	be.PutUint16(primary[130:], sector)
	root(primary[156:])
	primary[881] = 1
	root(b[20*sector:])
	root(b[20*sector+34:])
	b[20*sector+34+33-1] = 1
	end := 17
	if boot {
		record := b[17*sector:]
		copy(record, "\x00CD001\x01EL TORITO SPECIFICATION")
		le.PutUint32(record[71:], 21)
		catalog := b[21*sector:]
		catalog[0], catalog[30], catalog[31] = 1, 0x55, 0xAA
		le.PutUint16(catalog[28:], 0x55AA) // makes the sum of the entry's words zero
		catalog[32], catalog[38] = 0x88, 4
		le.PutUint32(catalog[40:], 22)
		copy(b[22*sector:], "\xfaloader")
		end++
	}
	copy(b[end*sector:], "\xffCD001\x01")
	return b
}
