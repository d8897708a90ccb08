package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/drivebay/drivebay/internal/node"
)

// heldTasks are what the killed node has under way: as many as it runs at once.
const heldTasks = 16

// takeover measures how long the tasks of a node that is killed lie still.
func (b *bench) takeover() (_ []row, err error) {
	pg, address, err := b.postgres()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.Remove()) }()
	rounds := min(b.rounds, 3)
	if b.short {
		rounds = 1
	}
	var took []float64
	for range rounds {
		one, err := b.takenOver(address)
		if err != nil {
			return nil, err
		}
		took = append(took, one.Seconds())
	}
	worst, lease := 0.0, node.Lease.Seconds()
	for _, t := range took {
		worst = max(worst, t)
	}
	return []row{{
		figure: fmt.Sprintf("kill -9 of a node until another runs the last of its %d tasks, PostgreSQL, worst of %d", heldTasks, rounds),
		ours:   fmt.Sprintf("%.1f s", worst), baseline: fmt.Sprintf("%.0f s, the lease", lease),
		ratio: fmt.Sprintf("%.2f", worst/lease), target: "at most lease + 2 s", met: worst <= lease+2,
	}}, nil
}

// takenOver kills a node that runs tasks and waits until another runs them.
func (b *bench) takenOver(address string) (took time.Duration, err error) {
	cmd := exec.CommandContext(b.ctx, b.self, "node", address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return 0, errors.New("the node to be killed did not start")
	}
	begun := make(chan time.Time, heldTasks)
	w, err := b.worker(address, "heir", nothing{begun: begun}, 0)
	if err != nil {
		return 0, err
	}
	for i := range heldTasks {
		if err := w.accept(b.ctx, int64(i+1), fmt.Sprint("held", i)); err != nil {
			return 0, errors.Join(err, w.stop())
		}
	}
	for range heldTasks {
		if !lines.Scan() {
			return 0, errors.Join(errors.New("the node to be killed ended"), w.stop())
		}
	}
	if err := w.stop(); err != nil {
		return 0, err
	}
	if w, err = b.worker(address, "heir", nothing{begun: begun}, 16); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := cmd.Process.Kill(); err != nil {
		return 0, err
	}
	killed := time.Now()
	for range heldTasks {
		select {
		case at := <-begun:
			took = max(took, at.Sub(killed))
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	return took, nil
}

// holdTasks is the node that is killed: it says on out that it is ready, and
// each task it begins, and ends none.
func holdTasks(ctx context.Context, address string, out io.Writer) error {
	begun := make(chan time.Time)
	b := &bench{ctx: ctx}
	w, err := b.worker(address, "killed", nothing{begun: begun, holds: true}, heldTasks)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for {
		select {
		case <-begun:
			fmt.Fprintln(out, "begun")
		case <-ctx.Done():
			return w.stop()
		}
	}
}
