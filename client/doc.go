// Package client talks to a drivebay server, or to any other server of the same
// API, from Go.
//
//	c, err := client.New("https://cloud.example.com", key)
//	...
//	task, err := c.Volume.Create(ctx, client.VolumeCreate{DeviceID: 1001, SizeGiB: 100})
//	...
//	task, err = c.Task.Wait(ctx, task, nil)
//	...
//	volume, err := c.Volume.Get(ctx, task.VolumeID())
//
// Whatever changes something is accepted as a task; [TaskService.Wait] awaits
// its end. Sizes of volumes are GiB (1<<30 bytes), whatever unit the server
// answers in. Times are UTC.
//
// # Errors
//
// A call that did not succeed returns an [*Error]; errors.Is tells what kind it
// is ([ErrNotFound], [ErrConflict] and so on). A task that failed is a
// [*TaskError]. Something that is not there is an error, never an empty result.
// The API key is in no error and in no log.
//
// # Tries
//
// A call is tried again after failures that may pass, with growing pauses, for
// as long as its context and [RetryPolicy] allow. What changes something carries
// an Idempotency-Key, one for all tries of a call, so that a server that knows
// the header does it once. A server that does not know it must be named with
// [WithoutIdempotencyKeys]; a change is then tried again only if no connection
// was made.
package client
