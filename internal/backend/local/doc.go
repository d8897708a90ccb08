// Package local is a backend driver for one machine with nothing installed:
// volumes and images are real files, the guests are simulated. Everything it
// holds lies in one folder and survives restarts and kill -9 at any moment.
//
//	lock              held (flock) by the one process that uses the folder
//	volumes/ID.raw    sparse, exactly as long as the volume
//	isos/SHA256.iso   the image
//	vms/REF.json      one simulated guest: power, disks, CD tray
//	tmp/              files being made; emptied by Open
//
// # How a file becomes durable
//
// A file is made in tmp/, written, fsynced, renamed into its folder, and the
// folder is fsynced. Both fsyncs are needed: without the first, a power cut
// may leave the name on a file with a wrong length; without the second, the
// name itself may be gone although the call returned. Renaming makes a file
// appear whole or not at all, so a killed process leaves garbage in tmp/ only,
// and Open never has to look through volumes/, however many are there.
// Concurrent calls share the fsync of a folder (see folder.sync).
//
// A new volume is nothing but its length, so it is renamed first and both fsyncs
// run side by side, which costs the time of one. What a power cut may leave then
// is an empty file with the volume's name, from a call that never returned; it
// counts as no volume and the next call fills it in.
//
// One small file per guest was chosen over a journal for all of them, which
// would need replay, compaction and a rule for torn records. The file has room
// for the guest twice: a change overwrites the older of the two and is fsynced,
// so that there is one wait and always one that is whole (see slot). A damaged
// file names its guest. To repair it by hand, put the guest in its place as
//
//	{"format":1,"ref":"vm-1","vcpu":1,"memoryMB":1024,"running":true,
//	 "volumes":["a","b"],"iso":"","trayLocked":false,"holds":[]}
//
// and, where they are not nothing, "cdFirst", "fromCD", "starts" and "deaf".
//
// # What is in memory
//
// The guests, and which guest has which volume and image, are read at Open.
// What memory says is what a reader of the folder would see, at any moment:
// it changes right after the file and under the same lock.
package local
