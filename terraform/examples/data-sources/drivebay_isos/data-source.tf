data "drivebay_isos" "all" {}

output "ready_isos" {
  value = [for iso in data.drivebay_isos.all.isos : iso.name if iso.ready]
}
