package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/drivebay/drivebay/api"
)

const (
	defaultURL  = "http://127.0.0.1:8080"
	apiPath     = "/api/v2"
	callTimeout = 30 * time.Second
	maxAnswer   = 32 << 20 // bytes; a page of 1000 entries is far below it
	maxKeyFile  = 4096     // bytes
)

// remote returns a client for the server that --url or DRIVEBAY_URL names.
func (s *shell) remote() (*api.Client, error) {
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	key, err := s.apiKey()
	if err != nil {
		return nil, err
	}
	// A redirect would carry the key to wherever it points.
	doer := &http.Client{
		Transport: s.http, Timeout: callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return api.NewClient(base, api.WithHTTPClient(doer), api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("X-API-KEY", key)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("User-Agent", "drivebay-cli/"+Version())
		return nil
	}))
}

// base is the address all routes are below.
func (s *shell) base() (string, error) {
	from, raw := "--url", s.url
	if raw == "" {
		from, raw = "DRIVEBAY_URL", s.getenv("DRIVEBAY_URL")
	}
	if raw == "" {
		raw = defaultURL
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", misuse("%s is not an address of the form http://host:port.", from) // not quoted: it may hold a password
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), apiPath) + apiPath
	return u.String(), nil
}

// apiKey reads the key from the environment, or from the file named there. It
// is never a flag: other users of the machine see those.
func (s *shell) apiKey() (string, error) {
	key := s.getenv("DRIVEBAY_API_KEY")
	if path := s.getenv("DRIVEBAY_API_KEY_FILE"); key == "" && path != "" {
		f, err := os.Open(path)
		if err != nil {
			return "", failed(Failed, "failed", "%s", sentence("read the API key: "+err.Error()))
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
		if err != nil {
			return "", failed(Failed, "failed", "%s", sentence("read the API key: "+err.Error()))
		}
		key = string(data)
	}
	key = strings.TrimSpace(key)
	switch {
	case key == "":
		f := misuse("DRIVEBAY_API_KEY is not set.")
		f.hint = "A server leaves its first key in its data folder: in admin.key, or in demo.json as adminKey with --demo."
		return "", f
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", misuse("The API key holds a character that no key has.")
	}
	return key, nil
}

// read takes the answer to a call and returns its body and the value in it. A
// status that is no success is a *failure.
func read[T any](rsp *http.Response, err error) (T, []byte, error) {
	var value T
	if err != nil {
		return value, nil, unreachable(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer+1))
	if err != nil {
		return value, nil, unreachable(err)
	}
	if len(body) > maxAnswer {
		return value, nil, failed(Failed, "bad_answer", "The server's answer is larger than %d MiB.", maxAnswer>>20)
	}
	if rsp.StatusCode/100 != 2 {
		return value, nil, refusal(rsp, body)
	}
	if rsp.StatusCode == http.StatusNoContent {
		return value, nil, nil
	}
	if err := json.Unmarshal(body, &value); err != nil {
		return value, nil, failed(Failed, "bad_answer", "The server's answer is not what the API promises; is DRIVEBAY_URL right?")
	}
	return value, body, nil
}

// unreachable is a call that got no answer.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which is the user's own
	}
	return failed(Failed, "unreachable", "The server does not answer: %s.", strings.TrimSuffix(err.Error(), "."))
}

// refusal reads an error answer: one of the API's two shapes, or anything that
// stands between us and the server.
func refusal(rsp *http.Response, body []byte) *failure {
	f := &failure{status: statusOf(rsp.StatusCode), Code: rsp.StatusCode}
	if kind, _, _ := mime.ParseMediaType(rsp.Header.Get("Content-Type")); kind == "application/json" {
		var got struct {
			api.Error
			Errors map[string]string `json:"errors"`
		}
		if json.Unmarshal(body, &got) == nil && got.Message != "" {
			f.Message, f.Reason, f.RequestID, f.Errors = got.Message, got.Reason, got.RequestID, got.Errors
			return f
		}
	}
	f.Reason = "bad_answer"
	f.Message = fmt.Sprintf("The server answers with status %d and no reason; is DRIVEBAY_URL right?", rsp.StatusCode)
	if to := rsp.Header.Get("Location"); rsp.StatusCode/100 == 3 && to != "" {
		f.Message = fmt.Sprintf("The server sends us to %s; if that is right, set DRIVEBAY_URL.", to)
	}
	return f
}

// pageSize is how many entries one call of a list asks for.
const pageSize = 1000

// pages reads a list that goes on after the last id, to its end. all is the
// whole list as one JSON array.
func pages[T any](get func(after int64, limit int) (*http.Response, error), id func(T) int64) (list []T, all []byte, err error) {
	raw := []json.RawMessage{}
	for after := int64(0); ; {
		page, _, err := read[[]json.RawMessage](get(after, pageSize))
		if err != nil {
			return nil, nil, err
		}
		last := after
		for _, m := range page {
			var v T
			if err := json.Unmarshal(m, &v); err != nil {
				return nil, nil, failed(Failed, "bad_answer", "The server's answer is not what the API promises; is DRIVEBAY_URL right?")
			}
			list, raw, last = append(list, v), append(raw, m), id(v)
		}
		if len(page) < pageSize {
			break
		}
		if last <= after {
			return nil, nil, failed(Failed, "bad_answer", "The server's list does not get on.")
		}
		after = last
	}
	all, err = json.Marshal(raw)
	return list, all, err
}
