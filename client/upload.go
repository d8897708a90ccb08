package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/drivebay/drivebay/api"
)

// ISOUpload is an image to send. Servers other than drivebay take none.
type ISOUpload struct {
	FacilityCode string
	Name         string
	Description  string
	SizeBytes    int64
	// Bootable and Checksum are as in [ISOCreate].
	Bootable bool
	Checksum string
	ClientID int64
}

// BeginUpload makes an ISO whose bytes are then sent with [ISOService.Upload].
func (s ISOService) BeginUpload(ctx context.Context, o ISOUpload, opts ...CallOption) (ISO, error) {
	body := api.ISOCreate{
		FacilityCode: o.FacilityCode, Name: o.Name, Description: o.Description, Bootable: o.Bootable, Upload: &api.ISOUpload{Size: o.SizeBytes},
		Checksum: optional(o.Checksum), ClientID: optional(s.c.actFor(o.ClientID)),
	}
	return do[ISO](ctx, s.c, posting(body, "vps", "iso"), opts)
}

const (
	// uploadStall is how long a connection may stand still before it is given up.
	uploadStall = 2 * time.Minute
	// uploadTries is how often in a row it is tried without a byte more being stored.
	uploadTries = 10
)

// Upload sends the bytes of i that the server does not have yet, from an image
// of i.SizeBytes bytes. onProgress, if not nil, is called with how many of all
// bytes are sent; the number falls where some have to be sent again.
//
// It goes on through broken connections and restarts of the server until ctx
// ends or ten tries in a row have stored nothing. When it gives up, what is
// stored stays for a day: Upload with the same ISO, from any process, goes on
// from there. After it, [ISOService.Wait] awaits that the ISO is ready. The error
// is a [*TaskError] where the ISO has failed meanwhile.
func (s ISOService) Upload(ctx context.Context, i ISO, image io.ReaderAt, onProgress func(sent int64)) error {
	u, err := s.c.newUpload(i, image, onProgress)
	if err != nil {
		return err
	}
	best, idle := int64(-1), 0
	for {
		offset, failure := u.step(ctx)
		switch {
		case failure == nil && offset >= u.size:
			return nil
		case ctx.Err() != nil:
			if failure == nil {
				failure = &Error{Message: "it was still under way"}
			}
			return interrupted(ctx, u.name(http.MethodPatch), failure)
		case failure != nil && !goesOn(failure):
			return s.whyNot(ctx, i, failure)
		}
		if idle++; offset > best {
			best, idle = offset, 0
		}
		if failure == nil {
			continue
		}
		if idle >= uploadTries {
			return failure
		}
		s.c.log.WarnContext(ctx, "the upload goes on", "op", failure.Op, "after", failure.Message, "offset", offset)
		d := RetryPolicy{First: s.c.retry.first(), Longest: longestPoll}.backoff(idle + 1)
		if sleep(ctx, max(d, failure.RetryAfter)) != nil {
			return interrupted(ctx, failure.Op, failure)
		}
	}
}

// whyNot is why an ISO takes no more bytes: what it says itself, else failure.
func (s ISOService) whyNot(ctx context.Context, i ISO, failure *Error) error {
	if failure.Status != http.StatusNotFound && failure.Status != http.StatusConflict {
		return failure
	}
	now, err := s.Get(ctx, i.ID, ISORef{FacilityCode: i.FacilityCode})
	if err != nil || now.Reason == "" {
		return failure
	}
	return &TaskError{Task: Task{ID: now.TaskID, Result: TaskFailed}, Reason: oneLine(now.Reason), Message: oneLine(now.Status)}
}

// upload is an image on its way, by the core of the tus protocol 1.0.
type upload struct {
	c        *Client
	url      string
	path     []string
	size     int64
	image    io.ReaderAt
	progress func(int64)
	http     http.Client
}

func (c *Client) newUpload(i ISO, image io.ReaderAt, onProgress func(int64)) (*upload, error) {
	u := &upload{c: c, path: []string{"vps", "iso", i.ID, "upload"}, size: i.SizeBytes, image: image, progress: func(int64) {}, http: *c.http}
	// The address is the server's to say, but not on another server: the key
	// goes along.
	if !strings.HasPrefix(i.UploadURL, basePath+"/") || strings.Contains(i.UploadURL, "/../") {
		return nil, &Error{Op: u.name(http.MethodPatch), Reason: ReasonBadCall, Message: "the ISO is not one whose upload goes on"}
	}
	u.url = strings.TrimSuffix(c.base, basePath) + i.UploadURL
	u.http.Timeout = 0 // of a whole request, which may take hours
	if onProgress != nil {
		u.progress = onProgress
	}
	return u, nil
}

func (u *upload) name(method string) string { return method + " /" + strings.Join(u.path, "/") }

// step asks how much the server has and sends the rest in one request. offset is
// how much it has then, as far as is known; -1 where nothing is.
func (u *upload) step(ctx context.Context) (offset int64, failure *Error) {
	short, cancel := context.WithTimeout(ctx, u.c.timeout)
	defer cancel()
	if offset, failure = u.send(short, http.MethodHead, nil, 0); failure != nil {
		return -1, failure
	}
	u.progress(offset)
	if offset >= u.size {
		return offset, nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(uploadStall, func() { stop(errSlow) })
	defer stall.Stop()
	body := &watched{r: io.NewSectionReader(u.image, offset, u.size-offset), did: func(n int64) {
		stall.Reset(uploadStall)
		u.progress(offset + n)
	}}
	stored, failure := u.send(ctx, http.MethodPatch, body, offset)
	if body.err != nil { // the image itself cannot be read
		return offset, &Error{Op: u.name(http.MethodPatch), Reason: ReasonBadCall, Message: "the image cannot be read: " + oneLine(body.err.Error()), cause: body.err}
	}
	if failure != nil {
		return offset, failure
	}
	return stored, nil
}

// send makes one request and returns the offset in its answer.
func (u *upload) send(ctx context.Context, method string, body io.Reader, from int64) (int64, *Error) {
	r := &request{call: &call{method: method, path: u.path}}
	req, err := http.NewRequestWithContext(ctx, method, u.url, body)
	if err != nil {
		return 0, &Error{Op: r.name(), Reason: ReasonBadCall, Message: u.c.scrub(err.Error()), cause: err}
	}
	req.Header.Set("X-API-KEY", u.c.key())
	req.Header.Set("User-Agent", u.c.agent)
	req.Header.Set("Tus-Resumable", "1.0.0")
	if body != nil {
		req.ContentLength = u.size - from
		req.Header.Set("Content-Type", "application/offset+octet-stream")
		req.Header.Set("Upload-Offset", strconv.FormatInt(from, 10))
		req.Header.Set("Expect", "100-continue") // or a refusal gets lost while the body is sent
	}
	rsp, err := u.http.Do(req)
	if err != nil {
		return 0, u.certain(u.c.unreachable(r, err))
	}
	defer rsp.Body.Close()
	a := answer{status: rsp.StatusCode, header: rsp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(rsp.Body, maxAnswer)); err != nil {
		return 0, u.certain(u.c.unreachable(r, err))
	}
	if !a.ok() {
		return 0, u.certain(u.c.refusal(r, a))
	}
	offset, err := strconv.ParseInt(rsp.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 || offset > u.size {
		return 0, u.certain(u.c.badAnswer(r, a, "the answer does not say how much is stored"))
	}
	return offset, nil
}

// certain takes back that it is not known what was done: the next step asks.
func (u *upload) certain(e *Error) *Error {
	e.Uncertain, e.IdempotencyKey = false, ""
	return e
}

// goesOn reports whether an upload may get on after e.
func goesOn(e *Error) bool {
	switch {
	case e.Status == 0:
		return e.Reason != ReasonBadCall && !hopeless(e.cause)
	case e.Status == http.StatusBadRequest:
		return e.Reason == "upload_interrupted"
	case e.Status == http.StatusConflict:
		return e.Reason == "upload_offset" || e.Reason == "upload_busy"
	}
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// watched counts what is read of an image, and keeps an error of reading apart
// from one of sending.
type watched struct {
	r   io.Reader
	n   int64
	did func(n int64)
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	w.did(w.n)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}
