package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/drivebay/drivebay/internal/pgtest"
)

// postgres starts a PostgreSQL server of the bench's own that waits for the
// disk, as one in earnest does, and makes a database in it.
func (b *bench) postgres() (_ *pgtest.Server, address string, err error) {
	dir, err := b.sub("postgres")
	if err != nil {
		return nil, "", err
	}
	s, err := pgtest.Start(filepath.Join(dir, "data"), "fsync=on")
	if err != nil {
		return nil, "", err
	}
	pool, err := pgxpool.New(b.ctx, s.Address("postgres"))
	if err != nil {
		return nil, "", errors.Join(err, s.Remove())
	}
	defer pool.Close()
	if _, err := pool.Exec(b.ctx, "CREATE DATABASE bench"); err != nil {
		return nil, "", errors.Join(err, s.Remove())
	}
	return s, s.Address("bench"), nil
}

// pgReads compares reading with PostgreSQL to a bare handler that reads the
// same rows through pgx.
func (b *bench) pgReads() (_ []row, err error) {
	pg, address, err := b.postgres()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.Remove()) }()
	s, rows, err := b.readers("pgrows", address, "--database", address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.stop(), s.stop()) }()
	var volumes []volume
	if err := s.call(s.demo.APIKey, "GET", listPath, nil, &volumes); err != nil {
		return nil, err
	}
	var out []row
	for _, c := range []struct {
		figure, path, bare, target string
		least                      float64
	}{
		{"GET list of 50 volumes", listPath, "/list?deviceId=5001", "at least 0.8", 0.8},
		{"GET one volume", "/vps/volume/" + volumes[0].VolumeID, "/get/" + volumes[0].VolumeID, "", 0},
	} {
		request, bareRequest := s.request("GET", c.path, ""), rows.request(c.bare)
		if _, err := b.same(s, request, rows, bareRequest); err != nil {
			return nil, err
		}
		got, err := b.warm(b.loaded(s.pid, s.addr, request), b.loaded(rows.pid, rows.addr, bareRequest))
		if err != nil {
			return nil, err
		}
		out = append(out, against(c.figure+" with PostgreSQL, 8 connections, against a bare pgx handler reading the same rows", got[0], got[1], c.target, c.least))
	}
	return out, nil
}

// pgHandler reads volumes through pgx and encodes them: no key, no rights, no
// log.
func pgHandler(address string) (http.Handler, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	return volumeReader{
		list: func(ctx context.Context, device int64) ([]volume, error) { return pgList(ctx, pool, device) },
		get:  func(ctx context.Context, id string) (volume, error) { return scan(pool.QueryRow(ctx, getQuery, id)) },
	}.handler(), nil
}

func pgList(ctx context.Context, pool *pgxpool.Pool, device int64) ([]volume, error) {
	rows, err := pool.Query(ctx, listQuery, int64(7), device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []volume{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read a volume: %w", err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
