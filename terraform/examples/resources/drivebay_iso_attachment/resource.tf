resource "drivebay_iso_attachment" "install" {
  device_id = 1002
  iso_id    = drivebay_iso.installer.id
  boot_once = true
}
