// Package fetch downloads one file from an address somebody else chose into a
// file of ours: guarded, bounded, hashed on the way, and resumable, also after
// this process was killed. It knows no domain and no database.
//
// Rules that are decided here:
//   - The address that is really dialled is checked, on every hop and for every
//     connection. Only public addresses and those in Options.Allow are reached;
//     no proxy is used. Any port may be named, since mirrors use odd ones: what
//     keeps private networks out is the address.
//   - A redirect may go to http or https on any host that passes the same
//     check. From https to http it is refused: who asked for https must not
//     silently lose it. Credentials in a URL go to its own origin only.
//   - One connection for each request, HTTP/1.1, no cookies, no Referer, no
//     compression. Trailers are ignored.
//   - Without a length in the answer the end of the body is taken for the end of
//     the file; whether the file is whole is for the caller to see.
package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"code.dny.dev/ssrf"
)

// Defaults for the fields of Options that are zero.
const (
	DefaultMaxBytes        = 16 << 30
	DefaultStallTimeout    = 30 * time.Second
	DefaultDialTimeout     = 15 * time.Second
	DefaultHeaderTimeout   = 30 * time.Second
	DefaultMaxRedirects    = 10
	DefaultRetries         = 8
	DefaultCheckpointEvery = 32 << 20
	DefaultMinRate         = 16 << 10
	DefaultRateWindow      = 5 * time.Minute
)

const (
	// One read, one write. Small, because a kernel puts a long write into large
	// pages, which are rarely at hand and cold; 256 KiB took 1.7 times as long.
	blockBytes     = 32 << 10
	blocks         = 24      // in flight between reader and hash: what a cache holds
	refillBytes    = 1 << 20 // progress that gives the retry budget back
	maxHeaderBytes = 64 << 10
	maxRetryAfter  = 5 * time.Minute
)

// Options are the limits of a Fetcher. Zero fields take the defaults above.
type Options struct {
	// Allow names the addresses that are not public and may be reached all the
	// same. Only these: their neighbours stay closed.
	Allow []netip.Prefix
	// MaxBytes is the longest file that is taken.
	MaxBytes int64
	// StallTimeout is how long an open connection may stay without a byte.
	StallTimeout time.Duration
	// DialTimeout bounds name resolution and connecting, and once more the TLS
	// handshake; HeaderTimeout the wait for the answer's header. Both for each hop.
	DialTimeout, HeaderTimeout time.Duration
	// MinRate is the least bytes a second over a RateWindow of time spent
	// waiting for the source. Our own disk's time does not count.
	MinRate    int64
	RateWindow time.Duration
	// MaxRedirects is the longest chain of redirects; negative: none.
	MaxRedirects int
	// Retries is how many failures in a row without progress are repeated;
	// negative: none. See State.Failures.
	Retries int
	// Backoff is the wait before try n+1; n counts from 1. By default it
	// doubles from one second to one minute, with jitter.
	Backoff func(n int) time.Duration
	// CheckpointEvery is the bytes between two checkpoints. Their fsync runs
	// beside the download and keeps the last one short, so a large value costs
	// time too.
	CheckpointEvery int64
	// UserAgent is sent to the source.
	UserAgent string

	// RootCAs are the authorities trusted for https; nil: the system's.
	RootCAs *x509.CertPool
	// Resolver resolves names; nil: net.DefaultResolver.
	Resolver *net.Resolver
	// Now and Sleep are the clock. Sleep returns ctx's error when ctx ends first.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	// OpenFile opens the file to write, for reading and writing, and makes it
	// when it is not there.
	OpenFile func(path string) (File, error)
}

// File is what a download is written to. *os.File is one. Sync runs beside
// WriteAt.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// Fetcher downloads files. It is safe for concurrent use.
type Fetcher struct {
	opt       Options
	guard     *ssrf.Guardian
	transport *http.Transport
	loopback  bool // Allow opens some loopback address
}

// New returns a Fetcher.
func New(opt Options) *Fetcher {
	opt.setDefaults()
	f := &Fetcher{opt: opt}
	f.guard, f.loopback = newGuard(opt.Allow)
	f.transport = f.newTransport()
	return f
}

func (o *Options) setDefaults() {
	orElse(&o.MaxBytes, DefaultMaxBytes)
	orElse(&o.StallTimeout, DefaultStallTimeout)
	orElse(&o.DialTimeout, DefaultDialTimeout)
	orElse(&o.HeaderTimeout, DefaultHeaderTimeout)
	orElse(&o.MaxRedirects, DefaultMaxRedirects)
	orElse(&o.Retries, DefaultRetries)
	orElse(&o.CheckpointEvery, DefaultCheckpointEvery)
	orElse(&o.MinRate, DefaultMinRate)
	orElse(&o.RateWindow, DefaultRateWindow)
	orElse(&o.UserAgent, "drivebay")
	o.MaxRedirects = max(o.MaxRedirects, 0)
	o.Retries = max(o.Retries, 0)
	o.Allow = slices.Clone(o.Allow)
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.OpenFile == nil {
		o.OpenFile = openFile
	}
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func backoff(n int) time.Duration {
	d := time.Minute
	if n < 7 {
		d = time.Second << max(n-1, 0)
	}
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func openFile(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Request is one download.
type Request struct {
	URL string
	// Path is the file to write, in a folder that exists. What is there is
	// overwritten, up to what State says may be kept.
	Path string
	// Digests are wanted besides sha256: sha512, md5.
	Digests []string
	// State is the last one given to Checkpoint by an earlier Fetch of the same
	// URL to the same Path; nil to begin anew.
	State *State
	// Checkpoint stores a State durably. All bytes it counts are on the disk by
	// then. Calls come one at a time, often from another goroutine than Fetch's,
	// also when a budget is used or bytes are given up, and none comes after
	// Fetch has returned. An error ends the download with that error.
	Checkpoint func(State) error
	// Progress hears how many bytes are written, of how many (-1: not known).
	// done never falls, also when the download has to begin again.
	Progress func(done, total int64)
}

// Result is a finished download.
type Result struct {
	Bytes       int64
	SHA256      string            // lower-case hex
	Digests     map[string]string // each of Request.Digests, lower-case hex
	ContentType string            // as the source says; trust nothing in it
	FinalURL    string            // after redirects, redacted
	// Resumed is true when the bytes come from more than one run of Fetch. A
	// digest that does not match is then worth one more download from zero.
	Resumed bool
}

// Fetch downloads req.URL to req.Path. On success the whole file is there and
// fsynced, and a last State has been saved, with which another Fetch returns
// the same Result without the network.
//
// The error is an *Error when the URL, the source or a full disk is to blame,
// ctx's error when ctx ended, and anything else is internal. After an error
// the file is left for a later resume; removing it is up to the caller.
func (f *Fetcher) Fetch(ctx context.Context, req Request) (Result, error) {
	u, err := f.parse(req.URL, maxURLBytes)
	if err != nil {
		return Result{}, err
	}
	d := &download{f: f, req: req, url: u}
	if err := d.open(); err != nil {
		return Result{}, err
	}
	res, err := d.run(ctx)
	if cerr := d.close(); err == nil && cerr != nil {
		return Result{}, StorageError("close file", cerr)
	}
	return res, err
}

// run repeats attempts until the file is whole or the budget is spent.
func (d *download) run(ctx context.Context) (Result, error) {
	for !d.st.complete() {
		err := d.attempt(ctx)
		if err == nil {
			err = d.finish()
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return Result{}, fmt.Errorf("download: %w", ctx.Err())
		}
		if err := d.setback(ctx, err); err != nil {
			return Result{}, err
		}
	}
	return d.result(), nil
}

// setback books a failed attempt and waits for the next one. It returns the
// error that ends the download when there is none.
func (d *download) setback(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Permanent {
		return err
	}
	d.st.Failures++
	if err := d.save(); err != nil {
		return err
	}
	if d.st.Failures > d.f.opt.Retries {
		return e.spent(d.st.Failures)
	}
	wait := max(d.f.opt.Backoff(d.st.Failures), min(e.after, maxRetryAfter))
	if err := d.f.opt.Sleep(ctx, wait); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	return nil
}
