// Package compat holds the tests that drive a drivebay server with the
// published generated Go client of the Hivelocity API, v0.2.0. It has no code
// of its own and imports none of drivebay: what these tests see is what any
// user of that client sees.
package compat
