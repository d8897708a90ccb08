package libvirttest

import "libvirt.org/go/libvirtxml"

// domain is the definition of a guest: a machine with room for what is plugged
// in, one SCSI controller, one drive that is empty.
func (g *Guest) domain(o GuestOptions) *libvirtxml.Domain {
	on := uint(1) // a boot order
	devices := &libvirtxml.DomainDeviceList{
		MemBalloon:  &libvirtxml.DomainMemBalloon{Model: "none"},
		Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}, {Type: "scsi", Index: new(uint(0)), Model: "virtio-scsi"}},
	}
	machine := "q35"
	if o.CDBus == "ide" {
		machine = "pc"
	} else {
		devices.Controllers = append(devices.Controllers, ports(o.Ports)...)
	}
	if o.Root != "" {
		devices.Disks = append(devices.Disks, libvirtxml.DomainDisk{
			Device: "disk",
			Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw", Cache: "none", Discard: "unmap"},
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: o.Root}},
			Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
			Boot:   &libvirtxml.DomainDeviceBoot{Order: on},
		})
		on++
	}
	devices.Disks = append(devices.Disks, drive(o.CDBus, o.ISO, on))
	devices.Serials = []libvirtxml.DomainSerial{{
		Source: &libvirtxml.DomainChardevSource{File: &libvirtxml.DomainChardevSourceFile{Path: g.serial, Append: "off"}},
		Target: &libvirtxml.DomainSerialTarget{Port: new(uint(0))},
	}}
	domain := &libvirtxml.Domain{
		Type: "qemu", Name: g.Name, UUID: g.UUID,
		Memory:     &libvirtxml.DomainMemory{Value: 64, Unit: "MiB"},
		VCPU:       &libvirtxml.DomainVCPU{Value: 1},
		OS:         &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: machine, Type: "hvm"}},
		Features:   &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, APIC: &libvirtxml.DomainFeatureAPIC{}},
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: devices,
	}
	if o.Text {
		domain.OS.BIOS = &libvirtxml.DomainBIOS{UseSerial: "yes"}
	}
	if o.kernel != "" {
		g.linux(domain, o)
	}
	return domain
}

// ports are PCIe slots; libvirt adds hardly any by itself.
func ports(n int) []libvirtxml.DomainController {
	if n == 0 {
		n = 12
	}
	all := []libvirtxml.DomainController{{Type: "pci", Index: new(uint(0)), Model: "pcie-root"}}
	for i := range n {
		all = append(all, libvirtxml.DomainController{Type: "pci", Index: new(uint(i + 1)), Model: "pcie-root-port"})
	}
	return all
}

// drive is a guest's CD drive.
func drive(bus, iso string, order uint) libvirtxml.DomainDisk {
	dev, ok := map[string]string{"": "sda", "sata": "sda", "scsi": "sda", "ide": "hda"}[bus]
	if !ok {
		panic("no CD drive is on bus " + bus)
	}
	if bus == "" {
		bus = "sata"
	}
	disk := libvirtxml.DomainDisk{
		Device:   "cdrom",
		Driver:   &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Target:   &libvirtxml.DomainDiskTarget{Dev: dev, Bus: bus},
		ReadOnly: &libvirtxml.DomainDiskReadOnly{},
		Boot:     &libvirtxml.DomainDeviceBoot{Order: order},
		Alias:    &libvirtxml.DomainAlias{Name: CDAlias},
	}
	if iso != "" {
		disk.Source = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: iso}}
	}
	return disk
}
