package iso

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// listenEvery is how often Listen looks which facilities have guests to hear of.
const listenEvery = time.Minute

// ears are the facilities whose guests are to be heard of. The zero value is
// ready to use.
type ears struct {
	mu    sync.Mutex
	begin func(facilityCode string) // nil: nobody listens yet
	heard map[string]bool
}

// Listen moves ISOs on that guests start from once, as news of the guests
// comes, until ctx ends. It hears of a facility from the first such ISO on, so
// that no driver is opened for nothing. facilities are those whose tasks run
// here.
func (s *Service) Listen(ctx context.Context, facilities func(context.Context) ([]string, error), log *slog.Logger) {
	var all sync.WaitGroup
	defer all.Wait()
	s.ears.mu.Lock()
	s.ears.begin = func(code string) { all.Go(func() { s.watch(ctx, code, log) }) }
	for code := range s.ears.heard { // asked for by runs that began before this
		s.ears.begin(code)
	}
	s.ears.mu.Unlock()
	defer func() {
		s.ears.mu.Lock()
		defer s.ears.mu.Unlock()
		s.ears.begin, s.ears.heard = nil, nil
	}()
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	for {
		codes, err := facilities(ctx)
		for _, code := range codes {
			devices, bad := s.Store.Booting(ctx, code)
			if err = errors.Join(err, bad); len(devices) > 0 {
				s.hear(code)
			}
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("look which guests are to be heard of", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// hear makes sure that the facility is heard of where Listen runs, or will.
func (s *Service) hear(facilityCode string) {
	s.ears.mu.Lock()
	defer s.ears.mu.Unlock()
	if s.ears.heard[facilityCode] {
		return
	}
	if s.ears.heard == nil {
		s.ears.heard = map[string]bool{}
	}
	s.ears.heard[facilityCode] = true
	if s.ears.begin != nil {
		s.ears.begin(facilityCode)
	}
}

// watch hears of the guests of a facility until ctx ends.
func (s *Service) watch(ctx context.Context, facilityCode string, log *slog.Logger) {
	backend.Follow(ctx, s.Drivers, facilityCode, log, func(e backend.GuestEvent) {
		if e.What == backend.GuestStopped {
			return
		}
		if err := s.look(ctx, facilityCode, e.Ref, e.What == backend.GuestReset); err != nil && ctx.Err() == nil {
			log.Warn("move on what a guest starts from", "facility", facilityCode, "guest", e.Ref, "event", e.What, "error", err)
		}
	})
}
