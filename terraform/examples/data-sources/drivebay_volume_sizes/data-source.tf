data "drivebay_volume_sizes" "tampa" {
  facility_code = "TPA1"
}

output "prices_in_tampa" {
  value = { for s in data.drivebay_volume_sizes.tampa.sizes : s.size => s.monthly_price }
}
