package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// connectsAtOnce is how many connections a node makes at the same time. A
// database that has just come back gets a process going for each. If all that
// a pool lacks are asked for at once, on a busy machine none is ready before we
// give it up, and the next ones find the machine as busy with those.
const connectsAtOnce = 4

var errConnectQueue = errors.New("no turn to connect in time")

// connects lets connections be made by turns. It is a pgx.ConnectTracer, since
// that alone is told both ends of an attempt.
type connects chan struct{}

func newConnects() connects { return make(connects, connectsAtOnce) }

// turn marks the context of an attempt that has its turn.
type turn struct{}

// TraceConnectStart is in pgx.ConnectTracer. It waits for a turn, which is not
// of the time that the attempt itself may take; where there is none for as
// long as that, the attempt fails.
func (c connects) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	wait, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	select {
	case c <- struct{}{}:
		return context.WithValue(ctx, turn{}, true)
	case <-wait.Done():
		ended, end := context.WithCancelCause(ctx)
		end(errConnectQueue)
		return ended
	}
}

// TraceConnectEnd is in pgx.ConnectTracer.
func (c connects) TraceConnectEnd(ctx context.Context, _ pgx.TraceConnectEndData) {
	if ctx.Value(turn{}) != nil {
		<-c
	}
}

// TraceQueryStart is in pgx.QueryTracer, which a tracer has to be.
func (c connects) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd is in pgx.QueryTracer.
func (c connects) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
