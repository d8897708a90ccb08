package iso

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drivebay/drivebay/internal/task"
)

// planDrive is what will be in a drive that now has isoID, once the tasks of
// the device's lane have run.
func planDrive(isoID string, lane []task.Task) string {
	for _, t := range lane {
		switch t.Kind {
		case KindAttach:
			isoID = t.ISOID
		case KindDetach:
			isoID = ""
		}
	}
	return isoID
}

// goes reports whether an accepted task deletes the ISO.
func goes(pending []task.Task) bool {
	return slices.ContainsFunc(pending, func(t task.Task) bool { return t.Kind == KindDelete })
}

// checkFree reports whether the ISO may be deleted: not being deleted already,
// and in no drive once the accepted tasks have run. ErrDeleting, ErrAttached.
func checkFree(i ISO, pending []task.Task) error {
	if i.State == Deleting || goes(pending) {
		return ErrDeleting
	}
	in := slices.Clone(i.DeviceIDs)
	for _, t := range pending {
		switch t.Kind {
		case KindAttach:
			in = append(in, t.DeviceID)
		case KindDetach:
			in = slices.DeleteFunc(in, func(d int64) bool { return d == t.DeviceID })
		}
	}
	if len(in) == 0 {
		return nil
	}
	names := make([]string, len(in))
	for n, d := range in {
		names[n] = fmt.Sprint(d)
	}
	return ErrAttached.Textf("The ISO is attached to %s; detach it first", devices(names))
}

func devices(names []string) string {
	if len(names) == 1 {
		return "device " + names[0]
	}
	return "devices " + strings.Join(names, ", ")
}
