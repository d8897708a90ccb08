// Package taskmodel is a model of the task engine: lanes, leases, fences and
// takeover, small enough that every state of it can be visited. Check does so
// and answers with the shortest way to a broken rule, if there is one.
// MODEL.md in the folder above says what is modelled, which rules hold and what
// each guard is for. The model has no code in common with the engine; a test
// replays its walks on the real store.
package taskmodel
