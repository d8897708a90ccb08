package reconcile

import "context"

// Pass is one look at everything.
func (s *Service) Pass(ctx context.Context) ([]Finding, error) { return s.pass(ctx, "", s.Grace) }

// RepairAll begins the repair of what was found.
func (s *Service) RepairAll(ctx context.Context, found []Finding) (int, []string) {
	return s.repairAll(ctx, s.log(), found)
}
