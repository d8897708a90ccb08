package main

import (
	"errors"
	"fmt"
	"time"
)

// memory measures resident memory: idle, serving the list, importing. The
// baseline is the bare handler; for the import it is the idle server.
func (b *bench) memory() (_ []row, err error) {
	s, rows, err := b.readers("rows", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.stop(), s.stop()) }()
	idle, bareIdle, err := b.idle()
	if err != nil {
		return nil, err
	}
	serving, err := peak(s.pid, func() error {
		_, err := load(s.pid, s.addr, s.request("GET", listPath, ""), 3*b.span())
		return err
	})
	if err != nil {
		return nil, err
	}
	bareServing, err := peak(rows.pid, func() error {
		_, err := load(rows.pid, rows.addr, rows.request("/list?deviceId=5001"), 3*b.span())
		return err
	})
	if err != nil {
		return nil, err
	}
	importing, before, err := b.importPeak()
	if err != nil {
		return nil, err
	}
	line := func(figure string, ours, base float64, target string, most float64) row {
		return row{figure: figure, ours: mib(ours), baseline: mib(base), ratio: fmt.Sprintf("%.2f", ours/base), target: target, met: ours <= most}
	}
	return []row{
		line("resident memory idle, against the bare handler", idle, bareIdle, "at most 40 MiB", 40),
		line("peak while an ISO is imported, against before", importing, before, "at most 32 MiB more", before+32),
		line("peak while serving the list, 8 connections, against the bare handler", serving, bareServing, "at most 80 MiB", 80),
	}, nil
}

func mib(n float64) string { return fmt.Sprintf("%.1f MiB", n) }

// peak is the highest resident memory of a process while fn runs, in MiB.
func peak(pid int, fn func() error) (float64, error) {
	if err := forgetPeak(pid); err != nil {
		return 0, fmt.Errorf("%w: this figure needs Linux", err)
	}
	if err := fn(); err != nil {
		return 0, err
	}
	return memoryOf(pid, "VmHWM")
}

// idle is the median over rounds of the resident memory of a fresh server, and
// of a bare handler, a second after the start.
func (b *bench) idle() (ours, base float64, err error) {
	var dir string
	got, err := turns(b.rounds, func() (_ float64, err error) {
		if dir, err = b.sub("idle"); err != nil {
			return 0, err
		}
		s, err := b.serve(dir)
		if err != nil {
			return 0, err
		}
		time.Sleep(time.Second)
		rss, err := memoryOf(s.pid, "VmRSS")
		return rss, errors.Join(err, s.stop())
	}, func() (float64, error) {
		p, err := b.bare("rows", database(dir))
		if err != nil {
			return 0, err
		}
		time.Sleep(time.Second)
		rss, err := memoryOf(p.pid, "VmRSS")
		return rss, errors.Join(err, p.stop())
	})
	if err != nil {
		return 0, 0, err
	}
	return median(got[0]), median(got[1]), nil
}

// importPeak is the highest resident memory while an ISO is imported, and the
// memory just before.
func (b *bench) importPeak() (during, before float64, err error) {
	src, err := b.source()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	s, err := b.importer()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	time.Sleep(time.Second)
	if before, err = memoryOf(s.pid, "VmRSS"); err != nil {
		return 0, 0, err
	}
	during, err = peak(s.pid, func() error {
		_, _, err := s.importISO(src, nil)
		return err
	})
	return during, before, err
}

// start measures the time from the start of the process on an empty folder
// until it answers, beside a bare handler that opens an existing database.
func (b *bench) start() (_ []row, err error) {
	known, err := b.sub("known")
	if err != nil {
		return nil, err
	}
	s, err := b.serve(known)
	if err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	got, err := turns(2*b.rounds, func() (float64, error) {
		dir, err := b.sub("start")
		if err != nil {
			return 0, err
		}
		s, err := b.serve(dir)
		if err != nil {
			return 0, err
		}
		return millis(s.took), s.stop()
	}, func() (float64, error) {
		p, err := b.bare("rows", database(known))
		if err != nil {
			return 0, err
		}
		return millis(p.took), p.stop()
	})
	if err != nil {
		return nil, err
	}
	took := median(got[0])
	return []row{{
		figure: "start until ready on an empty folder, against the bare handler on a database that is there",
		ours:   fmt.Sprintf("%.0f ms", took), baseline: fmt.Sprintf("%.0f ms", median(got[1])),
		ratio: fmt.Sprintf("%.1f", ratio(got[0], got[1])), target: "at most 300 ms", met: took <= 300,
	}}, nil
}
