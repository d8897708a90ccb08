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
// One small file per guest was chosen over a journal for all of them. A journal
// saves one fsync of four on the path "create a volume and attach it", and
// costs replay, compaction and a rule for torn records. One file per guest is
// read and repaired with a text editor, and a damaged one names its guest.
//
// # What is in memory
//
// The guests, and which guest has which volume and image, are read at Open.
// What memory says is what a reader of the folder would see, at any moment:
// it changes right after the rename and under the same lock.
package local
