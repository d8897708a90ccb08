resource "drivebay_volume" "database" {
  device_id = 1001
  size      = 100

  max_monthly_price = 15

  timeouts {
    create = "10m"
  }

  lifecycle {
    prevent_destroy = false # true keeps the data from being destroyed by mistake
  }
}

# Several on one device.
resource "drivebay_volume" "shard" {
  count = 3

  device_id = 1001
  size      = 50
}
