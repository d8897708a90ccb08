data "drivebay_locations" "all" {}

output "facility_codes" {
  value = data.drivebay_locations.all.locations[*].code
}
