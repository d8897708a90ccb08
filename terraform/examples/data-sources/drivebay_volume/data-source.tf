data "drivebay_volume" "database" {
  id = drivebay_volume.database.id
}

output "database_monthly_price" {
  value = data.drivebay_volume.database.monthly_price
}
