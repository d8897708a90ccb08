data "drivebay_isos" "all" {
  depends_on = [drivebay_iso.installer] # listed once it is there
}

output "ready_isos" {
  value = [for iso in data.drivebay_isos.all.isos : iso.name if iso.ready]
}
