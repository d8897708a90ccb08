package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
)

// The upload of an ISO speaks the core of the tus protocol 1.0. It is the one
// route that is not made from the contract, whose bodies are JSON.

const (
	tusVersion = "1.0.0"
	tusType    = "application/offset+octet-stream"
	// uploadStall is how long an upload's connection may stay without a byte,
	// and uploadAnswer how much longer the answer may take.
	uploadStall  = 30 * time.Second
	uploadAnswer = 2 * time.Minute
)

// uploadPath is where the bytes of an ISO are sent.
func uploadPath(isoID string) string { return base + "/vps/iso/" + isoID + "/upload" }

// registerUpload puts the route of uploads on the router.
func (s *server) registerUpload() {
	pattern := uploadPath("{isoId}")
	id := param{name: "isoId", required: true, shape: &shape{kind: text, minLen: 1, maxLen: 64}}
	for method, h := range map[string]http.HandlerFunc{
		http.MethodHead: s.uploadHead, http.MethodPatch: s.uploadPatch, http.MethodOptions: s.uploadOptions,
	} {
		op := &operation{id: "uploadISO", permission: access.ISOs, path: []param{id}, next: h, s: s}
		s.routes[method+" "+pattern] = op
		s.mux.Method(method, pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Tus-Resumable"] = []string{tusVersion}
			op.ServeHTTP(w, r)
		}))
	}
}

// uploadOptions tells what of the protocol is spoken.
func (s *server) uploadOptions(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Tus-Version"] = []string{tusVersion}
	if u := s.ISOs.Uploads; u != nil {
		w.Header()["Tus-Max-Size"] = []string{strconv.FormatInt(u.MaxBytes, 10)}
	}
	w.WriteHeader(http.StatusNoContent)
}

// uploadHead tells how many bytes are stored for good.
func (s *server) uploadHead(w http.ResponseWriter, r *http.Request) {
	if v := r.Header["Tus-Resumable"]; len(v) > 0 && !speaksTus(v) {
		s.failTus(w, r)
		return
	}
	i, err := s.ISOs.Uploaded(r.Context(), caller(r.Context()).Scope(), chi.URLParam(r, "isoId"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header()["Upload-Length"] = []string{strconv.FormatInt(i.Size, 10)}
	setOffset(w, i)
	w.WriteHeader(http.StatusOK)
}

// uploadPatch stores the bytes of the body and answers once they are durable.
func (s *server) uploadPatch(w http.ResponseWriter, r *http.Request) {
	if !speaksTus(r.Header["Tus-Resumable"]) {
		s.failTus(w, r)
		return
	}
	if kind, _, err := mime.ParseMediaType(first(r.Header["Content-Type"])); err != nil || kind != tusType {
		s.fail(w, r, errTusType)
		return
	}
	offset, err := parseOffset(r.Header["Upload-Offset"])
	if err != nil {
		s.fail(w, r, err)
		return
	}
	body := &sentBody{from: http.NoBody, conn: http.NewResponseController(w), stopping: s.Stopping}
	if c := callOf(r.Context()); c.sent != nil {
		body.from = c.sent
	}
	stop := body.watch()
	i, err := s.ISOs.Upload(r.Context(), caller(r.Context()).Scope(), chi.URLParam(r, "isoId"), offset, r.ContentLength, body)
	stop()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	setOffset(w, i)
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) failTus(w http.ResponseWriter, r *http.Request) {
	w.Header()["Tus-Version"] = []string{tusVersion}
	s.fail(w, r, errTus)
}

func speaksTus(values []string) bool { return len(values) == 1 && values[0] == tusVersion }

// setOffset tells where the upload is.
func setOffset(w http.ResponseWriter, i iso.ISO) {
	w.Header()["Upload-Offset"] = []string{strconv.FormatInt(i.Done, 10)}
}

// parseOffset reads Upload-Offset: digits, once. errTusOffset.
func parseOffset(values []string) (int64, error) {
	if len(values) != 1 || values[0] == "" || len(values[0]) > 16 {
		return 0, errTusOffset
	}
	n := int64(0)
	for i := range len(values[0]) {
		c := values[0][i]
		if c < '0' || c > '9' {
			return 0, errTusOffset
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// sentBody reads a body of any length. A connection that stays without a byte
// for uploadStall ends it, and so does a server that stops: errNotReady.
type sentBody struct {
	from     io.Reader
	conn     *http.ResponseController
	stopping <-chan struct{}
}

// Read is in io.Reader.
func (b *sentBody) Read(p []byte) (int, error) {
	end := time.Now().Add(uploadStall)
	// Where there are no deadlines, as in a test without a connection, none
	// are needed.
	_ = b.conn.SetReadDeadline(end)
	_ = b.conn.SetWriteDeadline(end.Add(uploadAnswer))
	select {
	case <-b.stopping: // after the deadline was set, so that watch is not overruled
		return 0, errNotReady
	default:
	}
	n, err := b.from.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		select {
		case <-b.stopping:
			err = errNotReady
		default:
		}
	}
	return n, err
}

// watch ends a read that waits when the server stops, until the function it
// returns is called.
func (b *sentBody) watch() (stop func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-b.stopping:
			_ = b.conn.SetReadDeadline(time.Now())
		case <-over:
		}
	}()
	return func() { close(over) }
}
