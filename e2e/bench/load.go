package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a keep-alive connection that does as little as can be: client and
// server share the machine, and what the client takes would make any two
// servers look more alike than they are.
type conn struct {
	net  net.Conn
	in   *bufio.Reader
	body []byte
}

func dial(addr string) (*conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{net: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *conn) close() { c.net.Close() }

var errAnswer = errors.New("the answer is no HTTP this client knows")

// do sends a request and returns the answer's body, which is valid until the
// next call. An answer that is no success is an error.
func (c *conn) do(request []byte) ([]byte, error) {
	if _, err := c.net.Write(request); err != nil {
		return nil, err
	}
	first, err := c.line()
	if err != nil {
		return nil, err
	}
	if len(first) < 12 {
		return nil, errAnswer
	}
	status := string(first[9:12])
	length, chunked, err := c.header()
	if err != nil {
		return nil, err
	}
	c.body = c.body[:0]
	if chunked {
		err = c.chunks()
	} else {
		err = c.more(length)
	}
	if err == nil && status[0] != '2' {
		err = fmt.Errorf("status %s: %s", status, c.body)
	}
	return c.body, err
}

// line reads one line without its end.
func (c *conn) line() ([]byte, error) {
	l, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(l, "\r\n"), err
}

func (c *conn) header() (length int, chunked bool, err error) {
	for {
		l, err := c.line()
		if err != nil || len(l) == 0 {
			return length, chunked, err
		}
		name, value, _ := bytes.Cut(l, []byte(": "))
		switch string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, false, errAnswer
			}
		case "Transfer-Encoding":
			chunked = string(value) == "chunked"
		}
	}
}

// more appends n bytes to the body.
func (c *conn) more(n int) error {
	at := len(c.body)
	c.body = append(c.body, make([]byte, n)...)
	_, err := io.ReadFull(c.in, c.body[at:])
	return err
}

func (c *conn) chunks() error {
	for {
		l, err := c.line()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(l), 16, 32)
		if err != nil {
			return errAnswer
		}
		if err := c.more(int(n)); err != nil {
			return err
		}
		if _, err := c.line(); err != nil || n == 0 {
			return err
		}
	}
}

// sample is one side in one round.
type sample struct {
	rate float64 // requests a second
	cpu  float64 // microseconds of the server's processor time a request
}

func rates(s []sample) []float64 { return each(s, func(s sample) float64 { return s.rate }) }
func cpus(s []sample) []float64  { return each(s, func(s sample) float64 { return s.cpu }) }

// connections is how many a load uses.
const connections = 8

// load repeats a request over all connections for d.
func load(pid int, addr string, request []byte, d time.Duration) (sample, error) {
	var stop atomic.Bool
	var total atomic.Int64
	errs := make([]error, connections)
	var all sync.WaitGroup
	cpu, start := cpuOf(pid), time.Now()
	for i := range connections {
		all.Go(func() {
			c, err := dial(addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.close()
			n := int64(0)
			for !stop.Load() && errs[i] == nil {
				_, errs[i] = c.do(request)
				n++
			}
			total.Add(n)
		})
	}
	time.Sleep(d)
	stop.Store(true)
	all.Wait()
	took, n := time.Since(start), float64(total.Load())
	used := cpuOf(pid) - cpu
	return sample{rate: n / took.Seconds(), cpu: float64(used.Microseconds()) / n}, errors.Join(errs...)
}
