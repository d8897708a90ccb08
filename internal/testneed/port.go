package testneed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort is a port of 127.0.0.1 that nobody listens on, for a server that has to
// be told its port. It is below those that Linux gives to who asks for any, so
// that nobody else has it when the server starts, and when it starts again, but
// by a rare chance.
func FreePort() (int, error) {
	const first, count, tries = 20_000, 12_000, 100
	var failed error
	for range tries {
		port := first + rand.IntN(count)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		failed = err
	}
	return 0, errors.Join(errors.New("no port is free"), failed)
}
