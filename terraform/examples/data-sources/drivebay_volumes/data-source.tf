data "drivebay_volumes" "tampa" {
  facility_code = "TPA1"

  depends_on = [drivebay_volume.database, drivebay_volume.shard] # listed once they are there
}

output "gib_in_tampa" {
  value = sum(data.drivebay_volumes.tampa.volumes[*].size)
}
