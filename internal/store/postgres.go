package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// How long things may take with PostgreSQL before the caller hears that it is
// away. They grow from the inside out, so that the server ends a statement
// before we give up the connection. All are well below a lease: a node that
// has stopped in the middle of a transaction keeps its locks no longer. Only
// tests change them.
var (
	connectPatience = 3 * time.Second
	lockPatience    = 4 * time.Second
	idlePatience    = 5 * time.Second // between two statements of a transaction
	patience        = 6 * time.Second // a statement
	txPatience      = 10 * time.Second
)

// poolSize is how many connections a node keeps when its address does not say
// (pool_max_conns). A transaction holds one for some milliseconds.
const poolSize = 16

// maxTries is how often a transaction is tried that had to give way to others.
const maxTries = 10

// postgres is a PostgreSQL database, which other nodes may use too.
type postgres struct {
	db     *DB
	pool   *pgxpool.Pool
	offset atomic.Int64 // what its clock is ahead of ours, in nanoseconds
	closed atomic.Bool
	news   *news
}

func openPostgres(ctx context.Context, db *DB, address string) (*postgres, error) {
	cfg, err := poolConfig(address)
	if err != nil {
		return nil, err
	}
	if err := migratePostgres(ctx, address); err != nil {
		return nil, err
	}
	p := &postgres{db: db}
	if p.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := p.setClock(ctx); err != nil {
		p.pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	p.news = startNews(p, cfg.ConnConfig)
	return p, nil
}

// parsePostgres reads the address, which an error must not quote: it may hold a
// password. What belongs to the pool is not in its ConnConfig.
func parsePostgres(address string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the address of the database is not of the form postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	return cfg, nil
}

// poolConfig reads the address. What it says itself holds.
func poolConfig(address string) (*pgxpool.Config, error) {
	cfg, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	c := cfg.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectPatience
	}
	for name, limit := range map[string]time.Duration{
		"lock_timeout": lockPatience, "statement_timeout": patience, "idle_in_transaction_session_timeout": idlePatience,
	} {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = strconv.FormatInt(limit.Milliseconds(), 10)
		}
	}
	if _, set := c.RuntimeParams["application_name"]; !set {
		c.RuntimeParams["application_name"] = "drivebay"
	}
	c.Tracer = newConnects()
	if cfg.MaxConns < poolSize && !hasPoolSize(address) {
		cfg.MaxConns = poolSize
	}
	return cfg, nil
}

// migrateLock is the advisory lock of whoever changes the schema: an arbitrary
// number that nobody else has.
const migrateLock = 7_239_847_110

// migratePostgres brings the schema up to date. Nodes that start together wait
// for each other.
func migratePostgres(ctx context.Context, address string) error {
	return withMigrations(ctx, address, func(ctx context.Context, pool *sql.DB) error {
		_, err := migrate(ctx, "postgres", pool)
		return err
	})
}

// plainPostgres opens the database without the limits of ordinary work.
func plainPostgres(address string) (*sql.DB, error) {
	cfg, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.ConnectTimeout = connectPatience
	return stdlib.OpenDB(*cfg.ConnConfig), nil
}

// withMigrations runs fn with the schema to itself.
func withMigrations(ctx context.Context, address string, fn func(context.Context, *sql.DB) error) (err error) {
	pool, err := plainPostgres(address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open database: %w", err) // says where and why, and no password
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return fmt.Errorf("lock schema: %w", err)
	}
	err = fn(ctx, pool)
	if _, uerr := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock)); uerr != nil {
		err = errors.Join(err, fmt.Errorf("unlock schema: %w", uerr)) // it goes with the connection
	}
	return err
}

const clock = `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// setClock measures how far the database's clock is from ours.
func (p *postgres) setClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	var micros int64
	if err := p.pool.QueryRow(ctx, clock).Scan(&micros); err != nil {
		return err
	}
	p.offset.Store(int64(time.Until(time.UnixMicro(micros))))
	return nil
}

// now is in engine.
func (p *postgres) now() time.Time {
	if p.db.opt.Now != nil {
		return p.db.opt.Now()
	}
	return time.Now().Add(time.Duration(p.offset.Load()))
}

// announce is in engine.
func (p *postgres) announce(c changes) { p.news.send(c) }

// close is in engine.
func (p *postgres) close() error {
	p.closed.Store(true)
	p.news.stop()
	p.pool.Close()
	return nil
}

// acquire takes a connection from the pool.
func (p *postgres) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if p.closed.Load() {
		return nil, ErrUnavailable.Because(sql.ErrConnDone)
	}
	short, cancel := context.WithTimeout(ctx, txPatience)
	defer cancel()
	conn, err := p.pool.Acquire(short)
	if err != nil && ctx.Err() == nil {
		return nil, ErrUnavailable.Because(err)
	}
	return conn, err
}

// write is in engine. A transaction that had to give way to others is run
// again, and so is one that found a dead connection before it began. All are
// durable: when the database loses power, the nodes go on.
func (p *postgres) write(ctx context.Context, _ lasting, fn func(*Tx) error) error {
	for try := 0; ; try++ {
		err := p.once(ctx, fn)
		if err == nil || try == maxTries || !givesWay(err) || ctx.Err() != nil {
			return err
		}
		pause(ctx, time.Duration(try)*2*time.Millisecond)
	}
}

// pause waits for up to d, each caller another time.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errBegin marks what went wrong before anything had been done.
var errBegin = errors.New("begin transaction")

// givesWay reports whether nothing of a transaction came true and it may well
// do so the next time.
func givesWay(err error) bool {
	if errors.Is(err, errBegin) {
		return true
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// once runs fn in one transaction.
func (p *postgres) once(ctx context.Context, fn func(*Tx) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	// From here on nobody's leaving ends it: what has begun ends as it ends.
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), txPatience)
	defer cancel()
	now, err := p.begin(run, conn.Conn())
	if err != nil {
		return fmt.Errorf("%w: %w", errBegin, err)
	}
	q := &pgWriter{pgTx: pgTx{conn: conn.Conn(), ctx: run}, held: map[string]bool{}}
	if err := fn(p.db.newTx(q, now)); err != nil {
		p.rollback(run, conn.Conn())
		return p.late(run, err)
	}
	done, err := conn.Conn().PgConn().Exec(run, "COMMIT").ReadAll()
	switch {
	case err != nil:
		return p.outcome(ctx, q.xid, p.late(run, err))
	case done[0].CommandTag.String() != "COMMIT":
		return errors.New("a failed statement was passed over, and the transaction rolled back")
	}
	return nil
}

// begin starts a transaction and reads the database's clock on the same trip.
func (p *postgres) begin(ctx context.Context, conn *pgx.Conn) (time.Time, error) {
	results, err := conn.PgConn().Exec(ctx, "BEGIN; "+clock).ReadAll()
	if err != nil {
		return time.Time{}, err
	}
	micros, err := strconv.ParseInt(string(results[1].Rows[0][0]), 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	at := time.UnixMicro(micros)
	p.offset.Store(int64(time.Until(at)))
	if p.db.opt.Now != nil {
		at = p.db.opt.Now()
	}
	return at, nil
}

func (p *postgres) rollback(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() {
		return
	}
	if err := conn.PgConn().Exec(ctx, "ROLLBACK").Close(); err != nil {
		p.db.opt.Log.Warn("roll back", "error", err) // the pool closes the connection, which does
	}
}

// late says that the database is away where our own patience ended.
func (p *postgres) late(run context.Context, err error) error {
	if run.Err() != nil && !errors.Is(err, ErrUnavailable) {
		return ErrUnavailable.Because(err)
	}
	return err
}

// outcome finds out what became of a commit whose answer was lost. Where that
// cannot be found out, failed comes back.
func (p *postgres) outcome(ctx context.Context, xid string, failed error) error {
	if xid == "" || !away(failed) && !errors.Is(failed, ErrUnavailable) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txPatience)
	defer cancel()
	for ctx.Err() == nil && !p.closed.Load() {
		var status sql.NullString
		err := p.pool.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, xid).Scan(&status)
		switch {
		case err == nil && status.String == "committed":
			return nil
		case err == nil && status.String != "in progress":
			return failed
		}
		pause(ctx, 100*time.Millisecond)
	}
	return failed
}

// view is in engine.
func (p *postgres) view(ctx context.Context, fn func(*Tx) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	run, cancel := context.WithTimeout(ctx, txPatience)
	defer cancel()
	if err := conn.Conn().PgConn().Exec(run, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").Close(); err != nil {
		return err
	}
	defer func() { // also for a caller who has left: else the connection would have to be given up
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), txPatience)
		defer cancel()
		p.rollback(end, conn.Conn())
	}()
	return fn(p.db.newTx(pgTx{conn: conn.Conn(), ctx: run}, p.now()))
}
