// Package archtest holds the direction of imports between the packages of
// drivebay. It has tests only.
package archtest
