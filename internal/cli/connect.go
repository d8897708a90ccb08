package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/drivebay/drivebay/client"
)

const (
	defaultURL = "http://127.0.0.1:8080"
	maxKeyFile = 4096 // bytes
)

// remote returns a client for the server that the flags, the environment or a
// context name.
func (s *shell) remote() (*client.Client, error) {
	a, err := s.target()
	if err != nil {
		return nil, err
	}
	c, err := client.New(a.URL, a.Key, client.WithHTTPClient(&http.Client{Transport: s.http}), client.WithUserAgent("drivebay-cli/"+Version()),
		client.WithRetry(s.retry), client.WithPollInterval(s.poll))
	if err != nil {
		text, _ := strings.CutPrefix(err.Error(), "drivebay: ")
		return nil, misuse("%s", sentence(text))
	}
	return c, nil
}

// access is a server and the key for it.
type access struct {
	URL string `yaml:"url"`
	Key string `yaml:"key"`

	from    string // who names the server
	foreign bool   // it is another one than the context's
}

// target is the server to talk to and the key for it.
func (s *shell) target() (access, error) {
	a, err := s.find()
	switch {
	case err != nil:
		return a, err
	case a.Key == "" && a.foreign:
		return a, misuse("%s is another server than the context's, whose key is not for it; give the key in DRIVEBAY_API_KEY.", a.from)
	case a.Key == "":
		f := misuse("There is no API key: DRIVEBAY_API_KEY is not set, and there is no context.")
		f.hint = "A server leaves its first key in its data folder: in admin.key, or in demo.json as adminKey with --demo."
		return a, f
	case !isKey(a.Key):
		return a, misuse("The API key holds a character that no key has.")
	}
	return a, nil
}

// find finds the server and the key: those of --context, else of the
// environment, else of the context in use. The key of a context is for that
// context's server and for no other.
func (s *shell) find() (access, error) {
	a := access{URL: s.url, from: "--url"}
	if s.context == "" {
		if a.URL == "" {
			a.from, a.URL = "DRIVEBAY_URL", s.getenv("DRIVEBAY_URL")
		}
		var err error
		if a.Key, err = s.envKey(); err != nil {
			return a, err
		}
	}
	if a.URL == "" || a.Key == "" {
		saved, ok, err := s.savedTarget()
		if err != nil {
			return a, err
		}
		if ok && a.URL == "" {
			a.from, a.URL = "The context's url", saved.URL
		}
		a.foreign = ok && !sameServer(a.URL, saved.URL)
		if a.Key == "" && !a.foreign {
			a.Key = saved.Key
		}
	}
	if a.URL == "" {
		a.URL = defaultURL
	}
	if !isAddress(a.URL) {
		return a, misuse("%s is not an address of the form http://host:port.", a.from) // not quoted: it may hold a password
	}
	return a, nil
}

func isKey(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isAddress reports whether a client can be made for url.
func isAddress(url string) bool {
	_, err := client.New(url, "k")
	return err == nil
}

// sameServer compares two addresses in the ways they may be written.
func sameServer(a, b string) bool { return root(a) == root(b) }

// root is an address without the path of the API.
func root(url string) string {
	return strings.TrimRight(strings.TrimSuffix(strings.TrimRight(url, "/"), "/api/v2"), "/")
}

// envKey reads the key from the environment, or from the file named there. It
// is never a flag: other users of the machine see those.
func (s *shell) envKey() (string, error) {
	if key := strings.TrimSpace(s.getenv("DRIVEBAY_API_KEY")); key != "" {
		return key, nil
	}
	if path := s.getenv("DRIVEBAY_API_KEY_FILE"); path != "" {
		return readKeyFile(path)
	}
	return "", nil
}

func readKeyFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", failed(Failed, "failed", "%s", sentence("read the API key: "+err.Error()))
	}
	defer f.Close()
	return readKey(f)
}

func readKey(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return "", failed(Failed, "failed", "%s", sentence("read the API key: "+err.Error()))
	}
	return strings.TrimSpace(string(data)), nil
}

// change makes a call that changes something, under key if it is not "", and
// returns what was answered and how it was written.
func change[T any](key string, call func(opts ...client.CallOption) (T, error)) (T, []byte, error) {
	var raw []byte
	opts := []client.CallOption{client.WithBody(&raw)}
	if key != "" {
		opts = append(opts, client.WithIdempotencyKey(key))
	}
	v, err := call(opts...)
	return v, raw, err
}

// pageSize is how many entries one call of a list asks for.
const pageSize = 1000

// pages reads a list that goes on after the last id, to its end. all is the
// whole list as one JSON array.
func pages[T any](get func(p client.Page, body client.CallOption) ([]T, error), id func(T) int64) (list []T, all []byte, err error) {
	var raws [][]byte
	for after := int64(0); ; {
		var raw []byte
		page, err := get(client.Page{After: after, Limit: pageSize}, client.WithBody(&raw))
		if err != nil {
			return nil, nil, err
		}
		list, raws = append(list, page...), append(raws, raw)
		if len(page) < pageSize {
			break
		}
		last := id(page[len(page)-1])
		if last <= after {
			return nil, nil, failed(Failed, "bad_answer", "The server's list does not get on.")
		}
		after = last
	}
	all, err = joined(raws)
	return list, all, err
}

// everywhere reads the lists of all facilities, or of one if it is not "".
func everywhere[T any](ctx context.Context, c *client.Client, facility string, get func(code string, body client.CallOption) ([]T, error)) (list []T, all []byte, err error) {
	codes := []string{facility}
	if facility == "" {
		places, err := c.Location.List(ctx)
		if err != nil {
			return nil, nil, err
		}
		codes = codes[:0]
		for _, p := range places {
			codes = append(codes, p.Code)
		}
	}
	var raws [][]byte
	for _, code := range codes {
		var raw []byte
		part, err := get(code, client.WithBody(&raw))
		if err != nil {
			return nil, nil, err
		}
		list, raws = append(list, part...), append(raws, raw)
	}
	all, err = joined(raws)
	return list, all, err
}

// joined makes one JSON array of several.
func joined(raws [][]byte) ([]byte, error) {
	if len(raws) == 1 {
		return raws[0], nil
	}
	all := []json.RawMessage{}
	for _, raw := range raws {
		var part []json.RawMessage
		if err := json.Unmarshal(raw, &part); err != nil {
			return nil, fmt.Errorf("join the lists: %w", err)
		}
		all = append(all, part...)
	}
	return json.Marshal(all)
}
