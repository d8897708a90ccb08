package main

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// listed is how many data volumes the measured device has.
const listed = 50

const (
	benchDevice = 5001
	listPath    = "/vps/volume?deviceId=5001"
)

// list measures the list of a device's volumes.
func (b *bench) list() ([]row, error) {
	return b.reads("list of 50 volumes", listPath, "/list?deviceId=5001", 0.9, 0.5)
}

// get measures reading one volume. Its id is filled in when it is known.
func (b *bench) get() ([]row, error) {
	return b.reads("one volume", "/vps/volume/{id}", "/get/{id}", 0.7, 0.6)
}

// reads compares a GET with the handler that only reads the rows and with the
// one that answers the same bytes without looking.
func (b *bench) reads(what string, path, barePath string, target, stretch float64) (_ []row, err error) {
	s, rows, err := b.readers("rows", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.stop(), s.stop()) }()
	var volumes []volume
	if err := s.call(s.demo.APIKey, "GET", listPath, nil, &volumes); err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("{id}", volumes[0].VolumeID)
	request := s.request("GET", fill.Replace(path), "")
	bareRequest := rows.request(fill.Replace(barePath))
	answer, err := b.same(s, request, rows, bareRequest)
	if err != nil {
		return nil, err
	}
	fixed, err := b.bare("fixed", answer)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fixed.stop()) }()

	sides := []func() (sample, error){
		b.loaded(s.pid, s.addr, request), b.loaded(rows.pid, rows.addr, bareRequest), b.loaded(fixed.pid, fixed.addr, fixed.request("/")),
	}
	got, err := b.warm(sides...)
	if err != nil {
		return nil, err
	}
	figure := "GET " + what + ", 8 connections, against "
	return []row{
		against(figure+"a bare handler reading the same rows", got[0], got[1], fmt.Sprintf("at least %.1f", target), target),
		against(figure+"a handler with a fixed body", got[0], got[2], fmt.Sprintf("stretch: %.1f", stretch), stretch),
	}, nil
}

// loaded is one side of a comparison of request rates.
func (b *bench) loaded(pid int, addr string, request []byte) func() (sample, error) {
	return func() (sample, error) { return load(pid, addr, request, b.span()) }
}

// warm takes one turn that does not count, so that caches and connections are
// as they stay, and then all rounds.
func (b *bench) warm(sides ...func() (sample, error)) ([][]sample, error) {
	if _, err := turns(1, sides...); err != nil {
		return nil, err
	}
	return turns(b.rounds, sides...)
}

// against compares request rates: least is the smallest ratio that will do.
func against(figure string, ours, base []sample, target string, least float64) row {
	r := ratio(rates(ours), rates(base))
	return row{
		figure: figure, ours: show(ours), baseline: show(base),
		ratio: fmt.Sprintf("%.2f (CPU %.2f)", r, ratio(cpus(ours), cpus(base))), target: target, met: r >= least,
	}
}

func show(s []sample) string {
	return fmt.Sprintf("%.0f/s, %.0f us CPU", median(rates(s)), median(cpus(s)))
}

// readers starts a server that has the measured device, and the bare handler
// on the same database; "" is the server's own.
func (b *bench) readers(kind, address string, args ...string) (*server, *bare, error) {
	dir, err := b.sub("read")
	if err != nil {
		return nil, nil, err
	}
	s, err := b.serve(dir, args...)
	if err != nil {
		return nil, nil, err
	}
	if err = s.device(benchDevice); err == nil {
		err = s.volumes(benchDevice, listed)
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.stop())
	}
	rows, err := b.bare(kind, cmp.Or(address, database(dir)))
	if err != nil {
		return nil, nil, errors.Join(err, s.stop())
	}
	return s, rows, nil
}

func database(dir string) string { return filepath.Join(dir, "drivebay.db") }

// same makes sure that both sides answer with as many volumes, and returns a
// file with the server's answer.
func (b *bench) same(s *server, request []byte, p *bare, bareRequest []byte) (string, error) {
	ours, err := once(s.addr, request)
	if err != nil {
		return "", err
	}
	theirs, err := once(p.addr, bareRequest)
	if err != nil {
		return "", err
	}
	const mark = `"volumeId"`
	if n, m := strings.Count(string(ours), mark), strings.Count(string(theirs), mark); n != m || n == 0 {
		return "", fmt.Errorf("the server answers %d volumes and the baseline %d", n, m)
	}
	path := filepath.Join(b.dir, "answer.json")
	return path, os.WriteFile(path, ours, 0o600)
}

func once(addr string, request []byte) ([]byte, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.do(request)
}

// million compares the same list with few and with many other volumes in the
// database.
func (b *bench) million() (_ []row, err error) {
	many := 1_000_000
	if b.short {
		many = 100_000
	}
	var servers []*server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
	}()
	var sides []func() (sample, error)
	for _, n := range []int{many, 1000} {
		s, err := b.filled(n)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
		sides = append(sides, b.loaded(s.pid, s.addr, s.request("GET", listPath, "")))
	}
	got, err := b.warm(sides...)
	if err != nil {
		return nil, err
	}
	among, few := got[0], got[1]
	r := ratio(rates(few), rates(among)) // times, so the other way round
	return []row{{
		figure: fmt.Sprintf("list of 50 volumes among %d volumes, time against among 1000", many),
		ours:   show(among), baseline: show(few), ratio: fmt.Sprintf("%.2f (CPU %.2f)", r, ratio(cpus(among), cpus(few))),
		target: "at most 1.2", met: r <= 1.2,
	}}, nil
}

// filled starts a server whose database has n volumes, 50 on each device, with
// their services and the charges for them.
func (b *bench) filled(n int) (*server, error) {
	dir, err := b.sub("filled")
	if err != nil {
		return nil, err
	}
	s, err := b.serve(dir) // makes the schema
	if err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	db, err := openRows(database(dir), 1)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(db, n/listed), db.Close()); err != nil {
		return nil, fmt.Errorf("fill the database: %w", err)
	}
	// The volumes have no files, and the reconciler would say so of each.
	if s, err = b.serve(dir, "--reconcile-every", "0"); err != nil {
		return nil, err
	}
	var got []json.RawMessage
	if err := s.call(s.demo.APIKey, "GET", "/vps/volume?"+url.Values{"deviceId": {fmt.Sprint(benchDevice)}}.Encode(), nil, &got); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if len(got) != listed {
		return nil, errors.Join(fmt.Errorf("the device has %d volumes", len(got)), s.stop())
	}
	return s, nil
}

// fill adds devices with 50 volumes each to client 7. As the server's, the ids
// begin with a time; all devices got their first volume, then all the second,
// so that no two of a device lie close to each other.
func fill(db *sql.DB, devices int) error {
	now := time.Now().UnixMicro()
	end := time.Now().AddDate(0, 1, 0).UnixMicro()
	for _, q := range []struct {
		text string
		args []any
	}{
		{`CREATE TEMP TABLE n (d INTEGER, v TEXT)`, nil},
		{`WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d WHERE i + 1 < $1),
			v(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM v WHERE i < 49)
			INSERT INTO n SELECT $2 + d.i, printf('%012x', $3 + v.i * $1 + d.i) || lower(hex(randomblob(10))) FROM d, v`,
			[]any{devices, benchDevice, time.Now().UnixMilli()}},
		{`INSERT INTO device (id, client_id, facility_code, hostname, status, vcpu, memory_mb, max_volumes, ref, created_at)
			SELECT DISTINCT d, 7, 'TPA1', 'bench-' || d, 'RUNNING', 2, 4096, 256, 'bench-' || d, $1 FROM n`, []any{now}},
		{`INSERT INTO volume (id, client_id, facility_code, type, state, bytes, product_id, monthly_cents, generation, created_at, device_id)
			SELECT v, 7, 'TPA1', 'DATADISK', 'attached', 53687091200, 50, 500, 1, $1, d FROM n ORDER BY v`, []any{now}},
		{`INSERT INTO service (client_id, volume_id, facility_code, device_id, size_gib, product_id, monthly_cents, status,
			started_at, period_start, period_end, periods)
			SELECT 7, v, 'TPA1', d, 50, 50, 500, 'active', $1, $1, $2, 1 FROM n`, []any{now, end}},
		{`DROP TABLE n`, nil},
		{`PRAGMA wal_checkpoint(TRUNCATE)`, nil},
	} {
		if _, err := db.Exec(q.text, q.args...); err != nil {
			return err
		}
	}
	return nil
}
