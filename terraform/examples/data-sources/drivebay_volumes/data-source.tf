data "drivebay_volumes" "tampa" {
  facility_code = "TPA1"
}

output "gib_in_tampa" {
  value = sum(data.drivebay_volumes.tampa.volumes[*].size)
}
