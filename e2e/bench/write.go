package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// create measures one volume after the other, from the request until the task
// says Success, beside the fsync latency of the same disk.
func (b *bench) create() (_ []row, err error) {
	dir, err := b.sub("create")
	if err != nil {
		return nil, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c, err := dial(s.addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	n := 40
	if b.short {
		n = 10
	}
	device := int64(benchDevice)
	ours := func() (float64, error) { // a new device each round
		device++
		if err := s.device(device); err != nil {
			return 0, err
		}
		return creates(s, c, device, n)
	}
	base := func() (float64, error) { return b.fsync(dir, n) }
	if _, err := turns(1, ours, base); err != nil {
		return nil, err
	}
	got, err := turns(b.rounds, ours, base)
	if err != nil {
		return nil, err
	}
	took := median(got[0])
	return []row{{
		figure: "POST volume until its task is Success, median", ours: ms(took), baseline: ms(median(got[1])) + " for one fsync",
		ratio: fmt.Sprintf("%.1f fsyncs", ratio(got[0], got[1])), target: "at most 5 ms", met: took <= 5,
	}}, nil
}

// creates is the median in milliseconds of n volumes made one after the other.
func creates(s *server, c *conn, device int64, n int) (float64, error) {
	post := s.request("POST", "/vps/volume", fmt.Sprintf(`{"deviceId": %d, "size": 50}`, device))
	var took []float64
	for range n {
		start := time.Now()
		t, err := ask(c, post)
		if err != nil {
			return 0, err
		}
		wait := s.request("GET", "/network/status/"+t.TaskID+"?wait=30s", "")
		for t.Result == "Pending" {
			if t, err = ask(c, wait); err != nil {
				return 0, err
			}
		}
		if t.Result != "Success" {
			return 0, fmt.Errorf("task %s failed: %s", t.TaskID, t.MetaData)
		}
		took = append(took, millis(time.Since(start)))
	}
	return median(took), nil
}

func ask(c *conn, request []byte) (task, error) {
	var t task
	raw, err := c.do(request)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	return t, err
}

// devicesLoaded is how many devices share the volumes of throughput.
const devicesLoaded = 20

// throughput measures how many volumes a second are made, from the first
// request until the last task has ended.
func (b *bench) throughput() (_ []row, err error) {
	dir, err := b.sub("throughput")
	if err != nil {
		return nil, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	n := 1500
	if b.short {
		n = 400
	}
	first := int64(benchDevice)
	ours := func() (float64, error) { // new devices each round
		defer func() { first += devicesLoaded }()
		return s.flood(first, n)
	}
	base := func() (float64, error) {
		took, err := b.fsync(dir, 200)
		return 1000 / took, err
	}
	if _, err := turns(1, ours, base); err != nil {
		return nil, err
	}
	got, err := turns(b.rounds, ours, base)
	if err != nil {
		return nil, err
	}
	rate := median(got[0])
	return []row{{
		figure: "volumes made and finished, 20 devices, 8 connections", ours: fmt.Sprintf("%.0f/s", rate),
		baseline: fmt.Sprintf("%.0f fsyncs/s, one after the other", median(got[1])),
		ratio:    fmt.Sprintf("%.2f", ratio(got[0], got[1])), target: "at least 300/s", met: rate >= 300,
	}}, nil
}

// flood makes n volumes on new devices over all connections and returns how
// many a second were finished.
func (s *server) flood(first int64, n int) (float64, error) {
	for i := range int64(devicesLoaded) {
		if err := s.device(first + i); err != nil {
			return 0, err
		}
	}
	var next atomic.Int64
	errs := make([]error, connections)
	var all sync.WaitGroup
	start := time.Now()
	for i := range connections {
		all.Go(func() { errs[i] = s.pour(first, n, &next) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	for i := range int64(devicesLoaded) { // a device's tasks end in their order
		if _, err := s.await(fmt.Sprint(first + i)); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	made := 0
	for i := range int64(devicesLoaded) {
		var list []json.RawMessage
		if err := s.call(s.demo.APIKey, "GET", fmt.Sprintf("/vps/volume?deviceId=%d", first+i), nil, &list); err != nil {
			return 0, err
		}
		made += len(list) - 1 // beside the ROOT volume
	}
	if made != n {
		return 0, fmt.Errorf("%d of %d volumes are there", made, n)
	}
	return float64(n) / took.Seconds(), nil
}

// pour asks for volumes, device after device, until n have been asked for.
func (s *server) pour(first int64, n int, next *atomic.Int64) error {
	c, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		i := next.Add(1) - 1
		if i >= int64(n) {
			return nil
		}
		body := fmt.Sprintf(`{"deviceId": %d, "size": 50}`, first+i%devicesLoaded)
		if _, err := c.do(s.request("POST", "/vps/volume", body)); err != nil {
			return err
		}
	}
}
