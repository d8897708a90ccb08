package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/client"
)

// TestRefusals holds what becomes of the two error shapes.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		status     int
		want       client.Error
		text       string
	}{
		{"error", errorJSON(409, "device_full"), 409,
			client.Error{Status: 409, Reason: "device_full", Message: "a sentence", RequestID: "r-1"},
			"GET /vps/volume/v-1: a sentence (status 409, device_full, request r-1)"},
		{"fields", `{"errors":{"size":"too\nsmall","deviceId":"missing"},"message":"Input payload validation failed"}`, 400,
			client.Error{Status: 400, Message: "Input payload validation failed", Fields: map[string]string{"size": "too small", "deviceId": "missing"}},
			"GET /vps/volume/v-1: Input payload validation failed (status 400); deviceId: missing; size: too small"},
		{"fields of another kind", `{"errors":{"json":["bad",1]},"message":"m"}`, 400,
			client.Error{Status: 400, Message: "m", Fields: map[string]string{"json": `["bad",1]`}},
			`GET /vps/volume/v-1: m (status 400); json: ["bad",1]`},
		{"description only", `{"code":403,"description":"no"}`, 403,
			client.Error{Status: 403, Message: "no"}, "GET /vps/volume/v-1: no (status 403)"},
		{"a terminal's codes", `{"message":"\u001b[2Jgone\u202e\r\nX-Evil: 1"}`, 404,
			client.Error{Status: 404, Message: "[2Jgone X-Evil: 1"}, "GET /vps/volume/v-1: [2Jgone X-Evil: 1 (status 404)"},
	} {
		c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(tt.status, tt.body), nil })
		err := get(t.Context(), c)
		var e *client.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		if err.Error() != tt.text {
			t.Errorf("%s: the text is\n%s, want\n%s", tt.name, err, tt.text)
		}
		tt.want.Op, tt.want.Tries = "GET /vps/volume/v-1", 1
		if !reflect.DeepEqual(*e, tt.want) {
			t.Errorf("%s: got %#v, want %#v", tt.name, *e, tt.want)
		}
	}
}

// TestStrangeAnswers holds that an answer which is not of this API is an error
// of one short line that quotes it, and never a result.
func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	const html = "<html>\n<head><title>Welcome to nginx!</title>"
	for _, tt := range []struct {
		name               string
		status             int
		kind, body, quoted string
		header             []string
	}{
		{"HTML", 200, "text/html", html, "Welcome to nginx!", nil},
		{"HTML that calls itself JSON", 200, "application/json", html, "invalid character", nil},
		{"HTML and 404", 404, "text/html; charset=utf-8", html, "404 Not Found and no reason", nil},
		{"HTML and 400", 400, "", html, "400 Bad Request and no reason", nil},
		{"JSON of another service", 404, "application/json", `{"detail":"Not Found"}`, "Not Found", nil},
		{"nothing", 200, "", "", "it is empty", nil},
		{"nothing, as JSON", 200, "application/json", "", "unexpected end", nil},
		{"cut short", 200, "application/json", volumeJSON[:40], "unexpected end", nil},
		{"two values", 200, "application/json", volumeJSON + volumeJSON, "after top-level value", nil},
		{"a list", 200, "application/json", "[]", "cannot unmarshal array", nil},
		{"null", 200, "application/json", "null", "lacks the id", nil},
		{"another object", 200, "application/json", `{"status":"ok"}`, "lacks the id", nil},
		{"a size that is none", 200, "application/json", `{"volumeId":"v","size":"big"}`, "not a whole number", nil},
		{"not text", 200, "application/octet-stream", "\x00\xff\x1b]0;x\x07", "application/octet-stream", nil},
		{"a long line", 500, "text/plain", strings.Repeat("x", 1<<20), "xxx...", nil},
		{"another host", 302, "text/html", "moved", "evil.example.com", []string{"Location", "https://evil.example.com/"}},
		{"another scheme", 301, "", "", "http://cloud.example.com", []string{"Location", "http://cloud.example.com/api/v2/vps/volume/v-1"}},
	} {
		sent := 0
		c := newClient(t, func(*http.Request) (*http.Response, error) {
			sent++
			return respond(tt.status, tt.kind, tt.body, tt.header...), nil
		})
		_, err := c.Volume.Get(t.Context(), "v-1")
		if !errors.Is(err, client.ErrBadAnswer) || !strings.Contains(err.Error(), tt.quoted) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.quoted)
			continue
		}
		if text := err.Error(); len(text) > 700 || strings.ContainsAny(text, "\n\r\x1b\x00\x07") {
			t.Errorf("%s: the text is %q", tt.name, text)
		}
		if sent != 1 {
			t.Errorf("%s: sent %d times", tt.name, sent)
		}
	}
}

// TestListsOfStrangers holds that a list with anything else in it is no list.
func TestListsOfStrangers(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(200, `[{}]`), nil })
	for name, call := range map[string]func() error{
		"volumes": func() error { _, err := c.Volume.List(t.Context(), client.VolumeListOptions{DeviceID: 1}); return err },
		"ISOs":    func() error { _, err := c.ISO.List(t.Context(), client.ISOListOptions{FacilityCode: "X"}); return err },
		"VPS":     func() error { _, err := c.VPS.List(t.Context(), client.VPSListOptions{}); return err },
		"tasks":   func() error { _, err := c.Task.List(t.Context(), client.TaskListOptions{}); return err },
	} {
		if err := call(); !errors.Is(err, client.ErrBadAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var blanks = strings.Repeat(" ", 1<<20)

// endless never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, blanks)
	e.read += n
	return n, nil
}

// TestEndlessAnswer holds that no more than 16 MiB is read.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200} {
		body := &endless{}
		c := newClient(t, func(*http.Request) (*http.Response, error) {
			r := reply(status, "")
			r.Body = io.NopCloser(body)
			return r, nil
		})
		if err := get(t.Context(), c); !errors.Is(err, client.ErrBadAnswer) || body.read > 17<<20 {
			t.Errorf("%d: read %d bytes: %v", status, body.read, err)
		}
	}
}

// TestSecretStays holds that the key is in no error, whatever the server says.
func TestSecretStays(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]trip{
		"message": func(*http.Request) (*http.Response, error) {
			return reply(403, fmt.Sprintf(`{"message":"bad key %s","reason":%q,"requestId":%q,"errors":{%q:%q}}`, secret, secret, secret, secret, secret)), nil
		},
		"page":    func(*http.Request) (*http.Response, error) { return respond(500, "text/html", secret), nil },
		"type":    func(*http.Request) (*http.Response, error) { return respond(200, secret, "x"), nil },
		"network": func(*http.Request) (*http.Response, error) { return nil, errors.New("lost " + secret) },
		"location": func(*http.Request) (*http.Response, error) {
			return respond(302, "", "", "Location", "https://x/"+secret), nil
		},
	} {
		c := newClient(t, f, client.WithRetry(client.RetryPolicy{}))
		err := get(t.Context(), c)
		var e *client.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", name, err)
		}
		if all := fmt.Sprintf("%v %#v %v", err, e.Fields, *e); strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprint(e.Fields, e.Reason, e.RequestID), secret) {
			t.Errorf("%s: %s", name, all)
		}
		if text := fmt.Sprintf("%v %+v %#v", c, c, *c); strings.Contains(text, secret) {
			t.Errorf("a printed client shows the key: %s", text)
		}
	}
}

// TestRedirects holds that the key goes nowhere else, and a change never twice.
func TestRedirects(t *testing.T) {
	t.Parallel()
	strangers := 0
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers++ }))
	defer stranger.Close()
	changes := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch to := r.URL.Path; {
		case r.Method != http.MethodGet:
			changes++
			http.Redirect(w, r, to+"/", http.StatusPermanentRedirect)
		case strings.HasSuffix(to, "/away"):
			http.Redirect(w, r, stranger.URL, http.StatusFound)
		case strings.HasSuffix(to, "/round"):
			http.Redirect(w, r, to, http.StatusFound)
		case strings.HasSuffix(to, "/v-1"):
			http.Redirect(w, r, to+"/", http.StatusPermanentRedirect)
		default:
			if r.Header.Get("X-API-KEY") != secret {
				t.Error("the key got lost on the way")
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, volumeJSON)
		}
	}))
	defer server.Close()
	c, err := client.New(server.URL, secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), c); err != nil {
		t.Errorf("a redirect to the same host: %v", err)
	}
	for _, id := range []string{"away", "round"} {
		if _, err := c.Volume.Get(t.Context(), id); !errors.Is(err, client.ErrBadAnswer) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := create(t.Context(), c); !errors.Is(err, client.ErrBadAnswer) || changes != 1 {
		t.Errorf("a change was sent %d times: %v", changes, err)
	}
	if strangers != 0 {
		t.Error("a stranger was called")
	}
}

// TestPaths holds that an id stays one segment of the path.
func TestPaths(t *testing.T) {
	t.Parallel()
	var got *url.URL
	c := newClient(t, func(r *http.Request) (*http.Response, error) { got = r.URL; return reply(200, volumeJSON), nil })
	for id, want := range map[string]string{
		"a/b":        "a%2Fb",
		"../../x":    "..%2F..%2Fx",
		"a?b#c":      "a%3Fb%23c",
		"a%2Fb":      "a%252Fb",
		"...":        "...",
		"ä \x00\r\n": "%C3%A4%20%00%0D%0A",
	} {
		if _, err := c.Volume.Get(t.Context(), id); err != nil || got.EscapedPath() != "/api/v2/vps/volume/"+want || got.RawQuery != "" || got.Host != "cloud.example.com" {
			t.Errorf("%q became %v: %v", id, got, err)
		}
	}
	for _, id := range []string{"", ".", ".."} {
		got = nil
		if err := c.Admin.Key.Revoke(t.Context(), id); !errors.Is(err, client.ErrInvalid) || got != nil {
			t.Errorf("%q was sent: %v, %v", id, got, err)
		}
		if _, err := c.Volume.Get(t.Context(), id); !errors.Is(err, client.ErrInvalid) || got != nil {
			t.Errorf("%q was sent: %v, %v", id, got, err)
		}
	}
	// What is bad in a header is found out before anything is sent.
	for _, o := range []client.CallOption{client.WithIdempotencyKey("a\nb"), client.WithFields("a\r\nX: y")} {
		if _, err := c.Volume.Delete(t.Context(), "v", client.VolumeDelete{}, o); !errors.Is(err, client.ErrInvalid) || got != nil {
			t.Errorf("a bad option was sent: %v, %v", got, err)
		}
	}
}

// TestHeaders holds what each request carries.
func TestHeaders(t *testing.T) {
	t.Parallel()
	var got *http.Request
	c := newClient(t, func(r *http.Request) (*http.Response, error) { got = r; return reply(201, taskJSON), nil }, client.WithUserAgent("backup/1.2"), client.WithClientID(8))
	var raw []byte
	if _, err := c.Volume.Create(t.Context(), client.VolumeCreate{}, client.WithFields("taskId", "nics{ipAddress}"), client.WithQuery("dryRun", "true"), client.WithBody(&raw)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"X-Api-Key": secret, "User-Agent": "backup/1.2 drivebay-go", "Accept": "application/json",
		"Content-Type": "application/json", "X-Fields": "taskId,nics{ipAddress}",
	} {
		if have := got.Header.Get(name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
	if got.URL.RawQuery != "dryRun=true" || string(raw) != taskJSON {
		t.Errorf("query %q, body %s", got.URL.RawQuery, raw)
	}
	one := keyOf(got)
	if _, err := c.ISO.Delete(t.Context(), "i", client.ISORef{}); err != nil || got.URL.RawQuery != "clientId=8" {
		t.Errorf("query %q, %v", got.URL.RawQuery, err)
	}
	if two := keyOf(got); one == two || len(one) < 20 {
		t.Errorf("the keys of two calls are %q and %q", one, two)
	}
	if _, err := c.ISO.Delete(t.Context(), "i", client.ISORef{ClientID: 9}); err != nil || got.URL.RawQuery != "clientId=9" {
		t.Errorf("query %q, %v", got.URL.RawQuery, err)
	}
}

// TestNew holds what an address, a key and an option may be, and that what is
// wrong is not quoted.
func TestNew(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://a.example":             "https://a.example/api/v2/vps/volume/v-1",
		"http://127.0.0.1:8080/":        "http://127.0.0.1:8080/api/v2/vps/volume/v-1",
		"https://a.example/api/v2":      "https://a.example/api/v2/vps/volume/v-1",
		"https://a.example/api/v2//":    "https://a.example/api/v2/vps/volume/v-1",
		"https://a.example/x%2Fy/z":     "https://a.example/x%2Fy/z/api/v2/vps/volume/v-1",
		"https://user:pw@a.example":     "",
		"ftp://a.example":               "",
		"a.example":                     "",
		"":                              "",
		"https://a.example/?key=s":      "",
		"https://a.example/#x":          "",
		"https://a.example/\x7f":        "",
		"https:///api/v2":               "",
		"https://a.example:port-s3cr3t": "",
	} {
		var got string
		c, err := client.New(address, secret, client.WithHTTPClient(&http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			got = r.URL.String()
			return reply(200, volumeJSON), nil
		})}))
		if err != nil {
			if want != "" || address != "" && strings.Contains(err.Error(), address) {
				t.Errorf("%q: %v", address, err)
			}
			continue
		}
		if err := get(t.Context(), c); err != nil || got != want {
			t.Errorf("%q: sent to %q, want %q: %v", address, got, want, err)
		}
	}
	for _, key := range []string{"", " ", "a b", "a\nb", "ä"} {
		if _, err := client.New("https://a.example", key); err == nil || key != "" && key != " " && strings.Contains(err.Error(), key) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	for i, o := range []client.Option{
		client.WithHTTPClient(nil), client.WithLogger(nil), client.WithPollInterval(0), client.WithTimeout(-time.Second), client.WithUserAgent("a\nb"),
	} {
		if _, err := client.New("https://a.example", secret, o); err == nil {
			t.Errorf("option %d was taken", i)
		}
	}
}

// TestHTTPClientIsCopied holds that the caller's own client stays as it was.
func TestHTTPClientIsCopied(t *testing.T) {
	t.Parallel()
	own := &http.Client{Timeout: time.Minute}
	if _, err := client.New("https://a.example", secret, client.WithHTTPClient(own)); err != nil || own.CheckRedirect != nil {
		t.Errorf("the client was changed: %v", err)
	}
}

// TestDo holds that what has no name here can be called all the same.
func TestDo(t *testing.T) {
	t.Parallel()
	var got *http.Request
	c := newClient(t, func(r *http.Request) (*http.Response, error) { got = r; return reply(200, `{"a":1}`), nil })
	var into struct{ A int }
	err := c.Do(t.Context(), "POST", []string{"vps", "snapshot", ""}, map[string]string{"name": "x"}, &into, client.WithQuery("a", "b c"))
	if err != nil || into.A != 1 || got.URL.String() != "https://cloud.example.com/api/v2/vps/snapshot/?a=b+c" || keyOf(got) == "" {
		t.Errorf("sent %v, got %v, %v", got.URL, into, err)
	}
	if err := c.Do(t.Context(), "POST", []string{"x"}, func() {}, nil); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a body that is no JSON: %v", err)
	}
	if err := c.Do(t.Context(), "GET", []string{"x"}, nil, &[]int{}); !errors.Is(err, client.ErrBadAnswer) {
		t.Errorf("an answer of another shape: %v", err)
	}
}

// TestNoServices holds that the published way to say "none" is an empty list,
// and any other 404 is not.
func TestNoServices(t *testing.T) {
	t.Parallel()
	for body, none := range map[string]bool{`{"code":404,"message":"No services"}`: true, errorJSON(404, "route_not_found"): false, `{}`: false} {
		c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(404, body), nil })
		list, err := c.Service.List(context.Background(), client.ServiceListOptions{})
		if (err == nil) != none || none && list == nil {
			t.Errorf("%s: %v, %v", body, list, err)
		}
	}
}
