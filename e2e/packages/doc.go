// Package packages tests what `make dist` makes: the archive, and the Debian
// package, which dpkg installs, upgrades, removes and purges on a copy of this
// machine's files, and whose server runs there as its own user. It builds releases,
// so it runs where DRIVEBAY_TEST_REQUIRE names "deb".
package packages
