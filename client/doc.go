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
// an Idempotency-Key, one for all tries of a call, so that a drivebay server does
// it once. Before a change that may have been made is sent again, the package
// finds out, with one call, whether the server is one that keeps this promise; to
// any other it is not sent again, and the error is [Error.Uncertain].
package client
