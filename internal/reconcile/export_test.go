package reconcile

import "context"

// Pass is one look at everything.
func (s *Service) Pass(ctx context.Context) (found []Finding, err error) {
	codes, err := s.Store.Facilities(ctx)
	for _, code := range append(codes, "") {
		more, e := s.pass(ctx, code, s.Grace)
		if found = append(found, more...); e != nil {
			return found, e
		}
	}
	return found, err
}

// RepairAll begins the repair of what was found.
func (s *Service) RepairAll(ctx context.Context, found []Finding) (int, []string) {
	return s.repairAll(ctx, s.log(), found)
}
