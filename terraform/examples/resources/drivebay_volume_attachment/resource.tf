variable "archive_volume_id" {
  description = "A volume that was made by hand."
  type        = string
}

resource "drivebay_volume_attachment" "archive" {
  volume_id = var.archive_volume_id
  device_id = 1002
}
