variable "installer_url" {
  description = "Where the installer is downloaded from."
  type        = string
  default     = "https://boot.netboot.xyz/ipxe/netboot.xyz.iso"
}

resource "drivebay_iso" "installer" {
  name          = "installer"
  facility_code = "TPA1"
  url           = var.installer_url
  bootable      = true
  description   = "Installs the standard system"

  timeouts {
    create = "1h"
  }
}
