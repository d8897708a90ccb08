data "drivebay_vps" "web" {
  device_id = 1001
}

output "web_facility" {
  value = data.drivebay_vps.web.facility_code
}
