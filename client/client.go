package client

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	basePath       = "/api/v2"
	defaultTimeout = 30 * time.Second
	defaultPoll    = 2 * time.Second
	maxRedirects   = 5
)

// Client talks to one server with one API key. It is safe for use by several
// goroutines at once.
type Client struct {
	Volume   VolumeService
	ISO      ISOService
	VPS      VPSService
	Task     TaskService
	Service  ServiceService
	Location LocationService
	Quota    QuotaService

	// Admin has the operations that set up an installation. They need a key
	// with the permission admin, and a drivebay server.
	Admin Admin

	base     string        // with basePath, without a slash at the end
	key      func() string // a function, so that no printing of a Client shows it
	http     *http.Client
	agent    string
	clientID int64
	unkeyed  bool          // send no Idempotency-Key
	keys     *atomic.Int32 // whether the server keeps them
	quotes   *atomic.Bool  // the server is known to give them
	timeout  time.Duration
	poll     time.Duration
	retry    RetryPolicy
	log      *slog.Logger
}

// Option sets something of a [Client].
type Option func(*Client) error

// WithHTTPClient uses h's transport, cookies and timeout, which must be longer
// than a minute or none: waits take that long. Its treatment of redirects is
// replaced by the Client's own. Without this option, proxies are taken from the
// environment as usual in Go (HTTPS_PROXY and NO_PROXY; never for this machine).
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) error {
		if h == nil {
			return errors.New("the HTTP client is nil")
		}
		own := *h
		c.http = &own
		return nil
	}
}

// WithUserAgent names the program that uses the package, such as "backup/1.2".
func WithUserAgent(product string) Option {
	return func(c *Client) error {
		if strings.ContainsFunc(product, func(r rune) bool { return r < ' ' || r > '~' }) {
			return errors.New("the user agent holds a character that no header can have")
		}
		c.agent = strings.TrimSpace(product + " " + c.agent)
		return nil
	}
}

// WithPollInterval sets how often a wait with a progress callback looks, and
// how long the first pause is where the server cannot wait itself. The default
// is 2 s.
func WithPollInterval(d time.Duration) Option {
	return func(c *Client) error {
		if d <= 0 {
			return errors.New("the poll interval is not positive")
		}
		c.poll = d
		return nil
	}
}

// WithRetry replaces the retry policy. The zero policy never tries again.
func WithRetry(p RetryPolicy) Option {
	return func(c *Client) error { c.retry = p; return nil }
}

// WithTimeout bounds each try of a call, its answer included; the call as a
// whole is bounded by its context. The default is 30 s.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) error {
		if d <= 0 {
			return errors.New("the timeout is not positive")
		}
		c.timeout = d
		return nil
	}
}

// WithLogger logs each try at the level debug, and each that is followed by
// another one at the level warn. Without it nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return func(c *Client) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		c.log = l
		return nil
	}
}

// WithClientID acts for this client wherever an operation can and its options
// name no other. It must be the key's own client or a child of it.
func WithClientID(id int64) Option {
	return func(c *Client) error { c.clientID = id; return nil }
}

// WithoutIdempotencyKeys sends no Idempotency-Key, and so tries a change again
// only if no connection was made.
func WithoutIdempotencyKeys() Option {
	return func(c *Client) error { c.unkeyed = true; return nil }
}

// New returns a Client for the server at address, such as
// "https://cloud.example.com", with or without "/api/v2" at the end. It makes no
// call. The error names what is wrong and quotes neither address nor key.
func New(address, key string, opts ...Option) (*Client, error) {
	base, err := parseBase(address)
	if err != nil {
		return nil, err
	}
	key = strings.TrimSpace(key)
	switch {
	case key == "":
		return nil, errors.New("drivebay: the API key is empty")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("drivebay: the API key holds a character that no key has")
	}
	c := &Client{
		base: base, key: func() string { return key }, keys: &atomic.Int32{}, quotes: &atomic.Bool{}, http: &http.Client{}, agent: "drivebay-go",
		timeout: defaultTimeout, poll: defaultPoll, retry: DefaultRetry(), log: slog.New(slog.DiscardHandler),
	}
	for _, o := range opts {
		if err := o(c); err != nil {
			return nil, errors.Join(errors.New("drivebay: bad option"), err)
		}
	}
	c.http.CheckRedirect = stay
	c.Volume, c.ISO, c.VPS, c.Task = VolumeService{c}, ISOService{c}, VPSService{c}, TaskService{c}
	c.Service, c.Location, c.Quota = ServiceService{c}, LocationService{c}, QuotaService{c}
	c.Admin = newAdmin(c)
	return c, nil
}

func parseBase(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("drivebay: the address is not of the form https://host:port") // not quoted: it may hold a password
	}
	path := strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), basePath)
	return u.Scheme + "://" + u.Host + path + basePath, nil
}

// stay follows a redirect only for reading and on the same host: the standard
// client would send our key's header along to any other.
func stay(next *http.Request, before []*http.Request) error {
	first := before[0]
	if first.Method != http.MethodGet || next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host || len(before) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}
