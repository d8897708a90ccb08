package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/libvirt"
	"github.com/drivebay/drivebay/internal/vps"
)

// openDriver opens the driver of a facility: libvirt's where the settings name
// hosts for it, else the facility's own folder.
func (s *Server) openDriver(code, dir string) (backend.Driver, error) {
	if len(s.cfg.LibvirtAt(code)) > 0 {
		return s.openLibvirt(code)
	}
	return s.openLocal(code, dir)
}

// openLibvirt makes the driver of a facility's hosts. They need not be up, and
// since every server reaches the same ones, none claims their storage.
func (s *Server) openLibvirt(code string) (backend.Driver, error) {
	o := libvirt.Options{
		DiskBus: s.cfg.LibvirtDiskBus, CDBus: s.cfg.LibvirtCDBus, DetachTimeout: s.cfg.LibvirtDetachTimeout,
		Log:     s.log.With("facility", code),
		Adopted: func(ctx context.Context) (map[string]string, error) { return s.db.Volumes().Adopted(ctx, code) },
	}
	for _, h := range s.cfg.LibvirtAt(code) {
		o.Hosts = append(o.Hosts, libvirt.Host{Name: h.Name, URI: h.URI, Pool: h.Pool, ISOPool: h.ISOPool})
	}
	d, err := libvirt.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open libvirt of %s: %w", code, err)
	}
	return d, nil
}

// hostFacilities makes the facilities that the settings name hosts for, where
// they are missing. What is said of them to people is the operator's.
func (s *Server) hostFacilities(ctx context.Context) error {
	for _, code := range s.cfg.LibvirtFacilities() {
		_, err := s.VPS.Store.Facility(ctx, code)
		if errors.Is(err, vps.ErrFacilityNotFound) {
			if _, err = s.VPS.PutFacility(ctx, vps.Facility{Code: code, Title: code}); err == nil {
				s.log.Info("made the facility of libvirt_host; say where it is with drivebay facility set", "facility", code)
			}
		}
		if err != nil {
			return fmt.Errorf("make facility %s: %w", code, err)
		}
	}
	return nil
}
