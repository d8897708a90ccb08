terraform {
  required_providers {
    drivebay = {
      source = "drivebay/drivebay"
    }
  }
}

# The address and the key come from DRIVEBAY_URL and DRIVEBAY_API_KEY.
provider "drivebay" {}
