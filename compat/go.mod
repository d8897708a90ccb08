module github.com/drivebay/drivebay/compat

go 1.26.0

require (
	github.com/antihax/optional v1.0.0
	github.com/hivelocity/hivelocity-client-go v0.2.0
)

require (
	github.com/golang/protobuf v1.5.3 // indirect
	golang.org/x/oauth2 v0.13.0 // indirect
	google.golang.org/appengine v1.6.8 // indirect
	google.golang.org/protobuf v1.31.0 // indirect
)
