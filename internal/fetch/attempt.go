package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What ends an attempt from inside, as the cause of its context.
var (
	errStalled = errors.New("no bytes within the stall timeout")
	errTooSlow = errors.New("below the minimum rate")
)

// attempt uses one connection to get as far as it can. Nil means that the
// body ended where it should. It leaves everything it received in the sink.
func (d *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := d.accept(resp); err != nil {
		return err
	}
	w := newWatch(&d.f.opt, resp.Body, cancel)
	defer w.stop()
	err = d.copyBody(w, resp)
	host := resp.Request.URL.Hostname()
	switch {
	case errors.Is(err, errTooSlow):
		return permanent(ReasonTooSlow, "the source %s sends less than %d bytes a second", host, d.f.opt.MinRate)
	case errors.Is(err, &Error{Reason: ReasonTruncated}) && errors.Is(context.Cause(ctx), errStalled):
		return temporary(ReasonStalled, "the source %s stopped sending after %s", host, d.soFar()).because(errStalled)
	}
	return err
}

// soFar says how much is there, for sentences.
func (d *download) soFar() string {
	if d.st.Total < 0 {
		return fmt.Sprintf("%d bytes", d.sink.off)
	}
	return fmt.Sprintf("%d of %d bytes", d.sink.off, d.st.Total)
}

// connect follows redirects to the first other answer. Every hop passes the
// same check as the first URL, and the guard of the dialler.
func (d *download) connect(ctx context.Context) (*http.Response, error) {
	u := d.url
	for hop := 0; ; hop++ {
		resp, err := d.f.transport.RoundTrip(d.request(ctx, u))
		if err != nil {
			return nil, connectError(err, u.Hostname(), d.sink.off > 0)
		}
		loc := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || loc == "" {
			d.st.FinalURL = Redact(u.String())
			return resp, nil
		}
		resp.Body.Close()
		if hop >= d.f.opt.MaxRedirects {
			return nil, permanent(ReasonTooManyRedirects, "the source %s redirects more than %d times", d.url.Hostname(), d.f.opt.MaxRedirects)
		}
		if u, err = d.f.follow(u, loc); err != nil {
			return nil, err
		}
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow returns where loc leads from u, if we may go there.
func (f *Fetcher) follow(u *url.URL, loc string) (*url.URL, error) {
	bad := temporary(ReasonBadAnswer, "the source %s redirects to something that is not a URL", u.Hostname())
	if len(loc) > maxRedirectBytes {
		return nil, bad
	}
	to, err := f.resolve(u, loc)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Reason == ReasonURLInvalid:
		return nil, bad
	case errors.As(err, &e):
		e.Text = fmt.Sprintf("a redirect from %s is not followed: %s", u.Hostname(), e.Text)
		return nil, e
	case u.Scheme == "https" && to.Scheme != "https":
		return nil, permanent(ReasonURLNotAllowed, "a redirect from %s is not followed: it leads from https to http", u.Hostname())
	}
	if to.User == nil && to.Scheme == u.Scheme && to.Host == u.Host {
		to.User = u.User
	}
	return to, nil
}

// resolve is where loc leads from u, under the rules of parse. The error is an
// *Error.
func (f *Fetcher) resolve(u *url.URL, loc string) (*url.URL, error) {
	// The host as it was sent: parsing would escape or refuse what tells a trick.
	if scheme, rest, ok := strings.Cut(loc, "//"); ok && (scheme == "" || strings.HasSuffix(scheme, ":")) {
		var e *Error
		if errors.As(checkAuthority(rest), &e) && e.Reason == ReasonURLNotAllowed {
			return nil, e
		}
	}
	next, err := u.Parse(loc)
	if err != nil {
		return nil, permanent(ReasonURLInvalid, "it cannot be read")
	}
	next.Fragment, next.RawFragment = "", ""
	return f.parse(next.String(), 3*maxRedirectBytes) // escaping may lengthen it
}

// request asks for what is missing. A range is asked for only if the source
// can tell whether its file is still the one we have the start of.
func (d *download) request(ctx context.Context, u *url.URL) *http.Request {
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("User-Agent", d.f.opt.UserAgent)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	if d.asksRange() {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(d.sink.off, 10)+"-")
		if d.st.ETag != "" {
			req.Header.Set("If-Range", d.st.ETag)
		} else {
			req.Header.Set("If-Range", d.st.LastModified)
		}
	}
	return req
}

func (d *download) asksRange() bool {
	return d.sink.off > 0 && !d.st.NoRange && (d.st.ETag != "" || d.st.LastModified != "")
}

// accept judges the answer's header and brings the sink to where its body
// begins.
func (d *download) accept(resp *http.Response) error {
	host := resp.Request.URL.Hostname()
	switch code := resp.StatusCode; {
	case code == http.StatusOK || code == http.StatusNonAuthoritativeInfo:
		return d.acceptWhole(resp)
	case code == http.StatusPartialContent:
		return d.acceptPart(resp)
	case code == http.StatusRequestedRangeNotSatisfiable && d.asksRange():
		return d.again(temporary(ReasonChanged, "the source %s no longer has the bytes that are missing", host))
	default:
		return statusError(resp, d.f.opt.Now())
	}
}

// statusError is the refusal of an answer that is no success. Waiting helps
// against too many requests and the server's own faults.
func statusError(resp *http.Response, now time.Time) *Error {
	code := resp.StatusCode
	e := temporary(ReasonStatus, "the source %s answers with HTTP status %d %s",
		resp.Request.URL.Hostname(), code, http.StatusText(code))
	e.after = retryAfter(resp.Header, now)
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		e.Permanent = code < 500
	}
	return e
}

// acceptWhole takes an answer that begins at zero, asked for or not.
func (d *download) acceptWhole(resp *http.Response) error {
	if err := d.checkBody(resp, resp.ContentLength); err != nil {
		return err
	}
	if d.sink.off > 0 {
		if err := d.restart(); err != nil {
			return err
		}
		d.st.FinalURL = Redact(resp.Request.URL.String())
	}
	d.st.Total = resp.ContentLength
	d.st.ETag, d.st.LastModified = validators(resp.Header)
	d.st.ContentType = clean(resp.Header.Get("Content-Type"), 100)
	return nil
}

// acceptPart takes the rest of the file, if it is the rest of this file.
func (d *download) acceptPart(resp *http.Response) error {
	host := resp.Request.URL.Hostname()
	r, ok := parseContentRange(resp.Header)
	if !ok || !d.asksRange() || r.first != d.sink.off {
		return d.again(temporary(ReasonBadAnswer, "the source %s sends another part of the file than was asked for", host))
	}
	if resp.ContentLength >= 0 && resp.ContentLength != r.last-r.first+1 {
		return d.again(temporary(ReasonWrongLength, "the source %s announces two lengths for the same part", host))
	}
	etag, modified := validators(resp.Header)
	if differ(etag, d.st.ETag) || differ(modified, d.st.LastModified) ||
		(r.total >= 0 && d.st.Total >= 0 && r.total != d.st.Total) {
		return d.again(temporary(ReasonChanged, "the file at the source %s keeps changing", host))
	}
	if err := d.checkBody(resp, r.total); err != nil {
		return err
	}
	if d.st.Total < 0 {
		d.st.Total = r.total
	}
	return nil
}

// differ reports whether both are known and not the same.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

// checkBody refuses a body by its header.
func (d *download) checkBody(resp *http.Response, total int64) error {
	if enc := contentEncoding(resp.Header); enc != "" {
		return permanent(ReasonEncoded, "the source %s sends the file encoded (%s); only the plain file can be used",
			resp.Request.URL.Hostname(), enc)
	}
	if total > d.f.opt.MaxBytes {
		return d.tooLarge(fmt.Sprintf("is %d bytes long", total))
	}
	return nil
}

func (d *download) tooLarge(what string) *Error {
	return permanent(ReasonTooLarge, "the file %s; the limit is %d bytes", what, d.f.opt.MaxBytes)
}

// again gives up what is there, and ranges of this source with it, and returns
// e for the next attempt to be counted.
func (d *download) again(e *Error) error {
	d.st.NoRange = true
	if err := d.restart(); err != nil {
		return err
	}
	return e
}

// copyBody moves the body into the sink until it ends.
func (d *download) copyBody(w *watch, resp *http.Response) error {
	for {
		buf := d.sink.buffer()
		n, rerr := w.fill(buf)
		if err := d.take(buf, n, resp); err != nil {
			return err
		}
		switch {
		case d.st.Total >= 0 && d.sink.off == d.st.Total:
			return nil
		case rerr == nil:
			continue
		case rerr == io.EOF && d.st.Total < 0: // exactly: a wrapped one is a cut
			return nil
		case errors.Is(rerr, errTooSlow):
			return rerr
		}
		return temporary(ReasonTruncated, "the source %s ended the connection after %s",
			resp.Request.URL.Hostname(), d.soFar()).because(rerr)
	}
}

// take checks and writes the n bytes in buf.
func (d *download) take(buf []byte, n int, resp *http.Response) error {
	if n == 0 {
		d.sink.release(buf)
		return nil
	}
	if err := d.inspect(buf[:n], resp); err != nil {
		d.sink.release(buf)
		return err
	}
	if err := d.sink.write(buf[:n]); err != nil {
		return err
	}
	return d.wrote()
}

// inspect refuses data by its amount, and the start of a file by its looks.
func (d *download) inspect(data []byte, resp *http.Response) error {
	end := d.sink.off + int64(len(data))
	switch {
	case end > d.f.opt.MaxBytes:
		return d.tooLarge("does not end within the limit")
	case d.st.Total >= 0 && end > d.st.Total:
		return d.again(temporary(ReasonWrongLength, "the source %s sends more than the %d bytes it announced",
			resp.Request.URL.Hostname(), d.st.Total))
	case d.sink.off > 0:
		return nil
	}
	if quote, ok := htmlPage(data, resp.Header.Get("Content-Type")); ok {
		return permanent(ReasonHTML, "the source %s answers with a web page instead of a file: %q",
			resp.Request.URL.Hostname(), quote)
	}
	return nil
}

// watch reads a body and ends what stalls or crawls. Only the time spent in
// reading counts.
type watch struct {
	opt    *Options
	body   io.Reader
	timer  *time.Timer
	waited time.Duration
	got    int64
}

func newWatch(opt *Options, body io.Reader, cancel context.CancelCauseFunc) *watch {
	w := &watch{opt: opt, body: body}
	w.timer = time.AfterFunc(opt.StallTimeout, func() { cancel(errStalled) })
	w.timer.Stop()
	return w
}

func (w *watch) stop() { w.timer.Stop() }

// fill reads until buf is full or an error comes, which it returns with what
// was read before it.
func (w *watch) fill(buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := w.read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *watch) read(p []byte) (int, error) {
	start := w.opt.Now()
	w.timer.Reset(w.opt.StallTimeout)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.waited += w.opt.Now().Sub(start)
	w.got += int64(n)
	if err != nil || w.waited < w.opt.RateWindow {
		return n, err
	}
	if float64(w.got) < float64(w.opt.MinRate)*w.waited.Seconds() {
		return n, errTooSlow
	}
	w.waited, w.got = 0, 0
	return n, nil
}
