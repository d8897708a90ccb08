// Package libvirt is a stand-in with the names of the driver that takes its
// place, so that what opens it compiles.
package libvirt

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// Host is one hypervisor of a facility.
type Host struct {
	Name    string
	URI     string
	Pool    string
	ISOPool string
}

// Options set up a Driver.
type Options struct {
	Hosts         []Host
	DiskBus       string
	CDBus         string
	MaxVolumes    int
	DetachTimeout time.Duration
	CallTimeout   time.Duration
	Log           *slog.Logger
	// Source is the name that the disk of a volume has where it is not the
	// volume's id; "" where it is.
	Source func(ctx context.Context, volumeID string) (string, error)
}

// Driver is none yet.
type Driver struct{ backend.Driver }

// Open answers that there is no driver.
func Open(Options) (*Driver, error) { return nil, errors.New("this program has no libvirt driver") }
