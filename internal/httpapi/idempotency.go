package httpapi

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/drivebay/drivebay/internal/idempotency"
)

// replayed marks an answer that was given before.
const replayed = "Idempotent-Replayed"

const (
	// answerWait is how long a repeat waits for the answer of a request that has
	// been accepted: the time in which a living server stores it. After that the
	// answer is made again from what the request made.
	answerWait = 2 * time.Second
	// maxTries bounds how often a request finds its key taken and then not there.
	maxTries = 3
)

// once carries out the request. One with a key is carried out unless that was
// done before, and then answered as it was. A dry run takes no key.
func (o *operation) once(w http.ResponseWriter, r *http.Request) {
	values := r.Header[idempotency.Header]
	if len(values) == 0 || !o.unsafe || o.s.Idempotency == nil {
		o.next(w, r)
		return
	}
	key, err := idempotency.ParseKey(values)
	if err != nil {
		o.s.fail(w, r, err)
		return
	}
	if callOf(r.Context()).dry {
		o.next(w, r) // there is nothing that could be done twice
		return
	}
	q := &idempotency.Request{
		ID: rand.Text(), Scope: callOf(r.Context()).identity.ClientID, Key: key,
		Fingerprint: idempotency.Fingerprint(r.Method, r.URL.EscapedPath(), inOrder(r.URL.RawQuery), checked(r)),
	}
	for range maxTries {
		kept, err := o.s.Idempotency.Find(r.Context(), q)
		switch {
		case err != nil:
			o.s.fail(w, r, err)
		case kept == nil:
			if !o.first(w, r, q) {
				continue // its row is there now, or its time was over just then
			}
		case !q.Same(*kept):
			o.s.fail(w, r, errReused)
		default:
			o.replay(w, r, q, kept)
		}
		return
	}
	o.s.fail(w, r, idempotency.ErrTaken)
}

// checked is the body as the handler will read it, empty if it reads none.
func checked(r *http.Request) []byte {
	if b, ok := r.Body.(*body); ok {
		return b.out.Buf
	}
	return nil
}

// inOrder is a query with its parameters by name.
func inOrder(query string) string {
	q, err := url.ParseQuery(query)
	if err != nil {
		return query
	}
	return q.Encode()
}

// keyed holds back the answer of a request with a key.
type keyed struct {
	*answer
	taken bool // there is none, since another request holds the key
}

// first carries the request out, and stores its answer before anybody sees it.
// It reports false if another request has taken the key: then nothing was done
// or answered. Where the answer cannot be stored it is sent all the same, since
// its effect is durable and a repeat will be answered from that.
func (o *operation) first(w http.ResponseWriter, r *http.Request, q *idempotency.Request) bool {
	k := &keyed{answer: newAnswer(w)}
	defer k.free()
	o.next(k, r.WithContext(idempotency.With(r.Context(), q)))
	if k.taken {
		if b, ok := r.Body.(*body); ok {
			b.Seek(0, io.SeekStart) // it is read once more; a bytes.Reader does not fail
		}
		return false
	}
	send(w, o.settle(r, q, q.ID, k))
	return true
}

// replay answers as the request was answered that kept is of.
func (o *operation) replay(w http.ResponseWriter, r *http.Request, q *idempotency.Request, kept *idempotency.Kept) {
	if kept.Answer == nil && !o.secret {
		var err error
		if kept, err = o.await(r.Context(), q, kept); err != nil {
			o.s.fail(w, r, err)
			return
		}
	}
	if kept.Answer != nil {
		w.Header().Set(replayed, "true")
		send(w, *kept.Answer)
		return
	}
	k := &keyed{answer: newAnswer(w)}
	defer k.free()
	o.again(k, r.WithContext(context.WithValue(r.Context(), keptKey{}, kept)))
	if k.success() {
		w.Header().Set(replayed, "true")
	}
	send(w, o.settle(r, q, kept.ID, k))
}

// await looks for the answer until it is there or will not come any more.
func (o *operation) await(ctx context.Context, q *idempotency.Request, kept *idempotency.Kept) (*idempotency.Kept, error) {
	left := min(answerWait, answerWait-o.s.Now().Sub(kept.At))
	if left <= 0 {
		return kept, nil
	}
	end := time.NewTimer(left)
	defer end.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil, context.Cause(ctx)
		case <-end.C:
			next.Stop()
			return kept, nil
		case <-next.C:
		}
		now, err := o.s.Idempotency.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		if now == nil || now.ID != kept.ID {
			return kept, nil // its time is over; it was this request all the same
		}
		if now.Answer != nil {
			return now, nil
		}
	}
}

// settle returns what is to be sent of k: where it is a success, the answer
// that is stored for the request with the id, which is k's unless another
// repeat was faster. A client that has gone keeps nobody from storing it.
func (o *operation) settle(r *http.Request, q *idempotency.Request, id string, k *keyed) idempotency.Answer {
	a := idempotency.Answer{Status: k.status, ContentType: k.Header().Get("Content-Type"), Body: k.buf.Bytes()}
	if !k.success() || o.secret {
		return a
	}
	stored, err := o.s.Idempotency.Settle(context.WithoutCancel(r.Context()), q, id, a)
	if err != nil {
		o.s.Log.LogAttrs(r.Context(), slog.LevelWarn, "answer not stored",
			slog.String("request", callOf(r.Context()).id), slog.Any("error", err))
		return a
	}
	return stored
}

// send passes an answer on; status 0 is none.
func send(w http.ResponseWriter, a idempotency.Answer) {
	if a.Status == 0 {
		return
	}
	if len(a.Body) > 0 {
		w.Header()["Content-Type"] = []string{a.ContentType}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	w.WriteHeader(a.Status)
	if len(a.Body) > 0 {
		w.Write(a.Body) // a peer that has gone needs no answer
	}
}

type keptKey struct{}

// keptOf is what is known of the request that again answers.
func keptOf(ctx context.Context) *idempotency.Kept {
	k, _ := ctx.Value(keptKey{}).(*idempotency.Kept)
	return k
}
