package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the engine of the server
)

// The baselines are handlers that do only what cannot be left out. They run in
// a process of their own, so that they share the machine as the server does.

// bare is a running baseline.
type bare struct {
	cmd  *exec.Cmd
	in   io.Closer // it ends when this closes
	addr string
	pid  int
	took time.Duration // from the start of the process until it said where it listens
}

// bare starts a baseline: "rows" on a SQLite database, "pgrows" on one of
// PostgreSQL, or "fixed" with a file that is the answer.
func (b *bench) bare(kind, path string) (*bare, error) {
	p := &bare{cmd: exec.CommandContext(b.ctx, b.self, "baseline", kind, path)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.in, p.pid = in, p.cmd.Process.Pid
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start baseline %s: %w", kind, err), p.stop())
	}
	p.took, p.addr = time.Since(start), strings.TrimSpace(line)
	return p, nil
}

func (p *bare) stop() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

func (p *bare) request(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, p.addr)
}

// baseline is the program of such a process. It serves until its input ends.
func baseline(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: bench baseline rows|pgrows|fixed WHERE")
	}
	var h http.Handler
	var err error
	switch args[0] {
	case "rows":
		h, err = rowsHandler(args[1])
	case "pgrows":
		h, err = pgHandler(args[1])
	case "fixed":
		h, err = fixedHandler(args[1])
	default:
		err = fmt.Errorf("there is no baseline %q", args[0])
	}
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: h}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the bench, however that ends
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

func fixedHandler(path string) (http.Handler, error) {
	body, err := os.ReadFile(path)
	length := strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		w.Write(body)
	}), err
}

// The statements of the server's two hottest reads.
const (
	columns = `SELECT v.id, v.client_id, v.facility_code, v.type, v.state, v.bytes, v.product_id, v.monthly_cents,
	v.device_id, v.generation, v.created_at `
	listQuery = columns + `FROM volume v WHERE v.client_id = $1 AND v.device_id = $2
	AND v.state NOT IN ('creating', 'discarded') ORDER BY v.created_at DESC, v.id DESC`
	getQuery = columns + `FROM volume v WHERE v.id = $1`
)

// volume is the answer's form, in the order of the server's.
type volume struct {
	VolumeID     string    `json:"volumeId"`
	Type         string    `json:"type"`
	Size         int64     `json:"size"`
	SizeBytes    int64     `json:"sizeBytes"`
	DeviceID     *int64    `json:"deviceId"`
	FacilityCode string    `json:"facilityCode"`
	CreatedAt    time.Time `json:"createdAt"`
	State        string    `json:"state"`
	MonthlyPrice float64   `json:"monthlyPrice"`
}

func scan(row interface{ Scan(...any) error }) (v volume, err error) {
	var client, product, cents, generation, created int64
	err = row.Scan(&v.VolumeID, &client, &v.FacilityCode, &v.Type, &v.State, &v.SizeBytes, &product, &cents, &v.DeviceID, &generation, &created)
	v.Size, v.CreatedAt, v.MonthlyPrice = v.SizeBytes>>30, time.UnixMicro(created).UTC(), float64(cents)/100
	return v, err
}

// openRows opens a database with the server's settings.
func openRows(path string, readers int) (*sql.DB, error) {
	v := url.Values{"_pragma": {"journal_mode(WAL)", "busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()+"?"+v.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// rowsHandler reads volumes and encodes them: no key, no rights, no log.
func rowsHandler(path string) (http.Handler, error) {
	db, err := openRows(path, connections)
	if err != nil {
		return nil, err
	}
	list, err := db.Prepare(listQuery)
	if err != nil {
		return nil, err
	}
	get, err := db.Prepare(getQuery)
	if err != nil {
		return nil, err
	}
	return volumeReader{
		list: func(ctx context.Context, device int64) ([]volume, error) { return readList(ctx, list, device) },
		get:  func(ctx context.Context, id string) (volume, error) { return scan(get.QueryRowContext(ctx, id)) },
	}.handler(), nil
}

// volumeReader is the two reads that a baseline serves, of either database.
type volumeReader struct {
	list func(ctx context.Context, device int64) ([]volume, error)
	get  func(ctx context.Context, id string) (volume, error)
}

func (v volumeReader) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) {
		device, err := strconv.ParseInt(r.URL.Query().Get("deviceId"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := v.list(r.Context(), device)
		reply(w, out, err)
	})
	mux.HandleFunc("GET /get/{id}", func(w http.ResponseWriter, r *http.Request) {
		out, err := v.get(r.Context(), r.PathValue("id"))
		reply(w, out, err)
	})
	return mux
}

func readList(ctx context.Context, list *sql.Stmt, device int64) ([]volume, error) {
	rows, err := list.QueryContext(ctx, 7, device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []volume{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func reply(w http.ResponseWriter, v any, err error) {
	if err == nil {
		var raw []byte
		if raw, err = json.Marshal(v); err == nil {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
			w.Write(raw)
			return
		}
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
