package client

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds what is read of an answer, unpacked.
	maxAnswer = 16 << 20
	// maxQuote bounds what an error quotes of a strange answer.
	maxQuote = 120
)

// answer is what came for one try.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) ok() bool { return a.status/100 == 2 }

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// decode reads a success. It knows what can go wrong in between: a page of a
// proxy, an answer cut short, or another service at the address.
func decode[T any](c *Client, r *request, a answer) (T, error) {
	var value T
	if !isJSON(a.header) {
		kind := a.header.Get("Content-Type")
		if kind == "" {
			kind = "nothing that says what it is"
		}
		return value, c.badAnswer(r, a, "the answer is not JSON but "+kind)
	}
	if err := json.Unmarshal(a.body, &value); err != nil {
		return value, c.badAnswer(r, a, "the answer cannot be read: "+err.Error())
	}
	if r.fields == "" && !identified(value) {
		return value, c.badAnswer(r, a, "the answer lacks the id")
	}
	return value, nil
}

// identified reports whether value, and each element of a list, has its id.
// Without this a stranger's JSON would pass as an empty volume.
func identified(value any) bool {
	type known interface{ known() bool }
	switch v := value.(type) {
	case known:
		return v.known()
	case []Volume:
		return !slices.ContainsFunc(v, func(e Volume) bool { return !e.known() })
	case []ISO:
		return !slices.ContainsFunc(v, func(e ISO) bool { return !e.known() })
	case []VPS:
		return !slices.ContainsFunc(v, func(e VPS) bool { return !e.known() })
	case []Task:
		return !slices.ContainsFunc(v, func(e Task) bool { return !e.known() })
	}
	return true
}

func (c *Client) badAnswer(r *request, a answer, why string) *Error {
	e := &Error{Op: r.name(), Status: a.status, Reason: ReasonBadAnswer, Message: c.scrub(why) + c.quote(a.body), RetryAfter: retryAfter(a.header, a.status, time.Now())}
	if a.ok() || a.status >= 500 {
		e.doubt(c, r)
	}
	return e
}

// quote is the beginning of a strange body, as the end of a sentence.
func (c *Client) quote(body []byte) string {
	text := c.scrub(string(body[:min(len(body), 4*maxQuote)]))
	if runes := []rune(text); len(runes) > maxQuote {
		text = string(runes[:maxQuote]) + "..."
	}
	switch {
	case len(body) == 0:
		return "; it is empty"
	case text == "":
		return ""
	}
	return fmt.Sprintf("; it begins %q", text)
}

// scrub makes one line of a text from outside and takes the key out of it.
func (c *Client) scrub(s string) string {
	return strings.ReplaceAll(oneLine(s), c.key(), "***")
}

// refusal reads an answer that is no success.
func (c *Client) refusal(r *request, a answer) *Error {
	if to := a.header.Get("Location"); a.status/100 == 3 {
		return &Error{Op: r.name(), Status: a.status, Reason: ReasonBadAnswer, Message: "the server sends us on to " + strconv.Quote(c.scrub(to)) + ", where the key is not sent"}
	}
	var got struct {
		Message     string               `json:"message"`
		Description string               `json:"description"`
		Reason      string               `json:"reason"`
		RequestID   string               `json:"requestId"`
		Errors      map[string]looseText `json:"errors"`
	}
	if !isJSON(a.header) || json.Unmarshal(a.body, &got) != nil || got.Message == "" && got.Description == "" && len(got.Errors) == 0 {
		return c.badAnswer(r, a, fmt.Sprintf("the server answers %d %s and no reason", a.status, http.StatusText(a.status)))
	}
	e := &Error{
		Op: r.name(), Status: a.status, Reason: c.scrub(got.Reason), Message: c.scrub(got.Message), RequestID: c.scrub(got.RequestID),
		RetryAfter: retryAfter(a.header, a.status, time.Now()),
	}
	if e.Message == "" {
		e.Message = c.scrub(got.Description)
	}
	if len(got.Errors) > 0 {
		e.Fields = make(map[string]string, len(got.Errors))
		for name, text := range got.Errors {
			e.Fields[c.scrub(name)] = c.scrub(string(text))
		}
	}
	if a.status == http.StatusInternalServerError || a.status == http.StatusGatewayTimeout || a.status == http.StatusBadGateway {
		e.doubt(c, r)
	}
	return e
}

// farAway tells seconds until the reset of a rate limit from a point in time.
const farAway = 1_000_000_000

// retryAfter is how long the server wishes to be left alone: Retry-After in
// seconds or as a date, or for 429 the time until its limit starts anew.
func retryAfter(h http.Header, status int, now time.Time) time.Duration {
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseUint(v, 10, 31); err == nil {
			return time.Duration(n) * time.Second
		}
		if at, err := http.ParseTime(v); err == nil {
			return max(0, at.Sub(now))
		}
	}
	if status != http.StatusTooManyRequests {
		return 0
	}
	n, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 40)
	switch {
	case err != nil || n < 0:
		return 0
	case n >= farAway:
		return max(0, time.Unix(n, 0).Sub(now))
	}
	return time.Duration(n) * time.Second
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
