package storetest

import (
	"context"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

func testQuota(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Access()
	is(t, s.PutQuota(ctx, 4711, access.Quota{}), access.ErrNoSuchClient)
	is(t, s.PutQuota(ctx, 4711, access.Quota{Volumes: new(int64)}), access.ErrNoSuchClient)
	equal(t, "none", must(s.Quota(ctx, 7))(t), access.Quota{})
	big := int64(1) << 53
	for _, q := range []access.Quota{
		{Volumes: new(int64(0)), GiB: new(int64(1)), ISOs: new(int64(2)), ISOBytes: &big},
		{GiB: new(int64(3))},
		{},
		{ISOBytes: new(int64(4))},
	} {
		check(t, s.PutQuota(ctx, 7, q))
		equal(t, "quota", must(s.Quota(ctx, 7))(t), q)
		var inside access.Quota
		w.tx(t, func(tx volume.Tx) (err error) {
			inside, err = tx.Quota(ctx, 7)
			return err
		})
		equal(t, "quota in a transaction", inside, q)
		equal(t, "another client's", must(s.Quota(ctx, 8))(t), access.Quota{})
	}
}

// testUsage: what counts is what is or is to come.
func testUsage(t *testing.T, w *world) {
	ctx := t.Context()
	used := func(what string, want access.Usage) {
		t.Helper()
		_, got, err := w.Access().Usage(ctx, 7)
		check(t, err)
		same(t, what, got, want)
		w.tx(t, func(tx volume.Tx) (err error) {
			got, err = tx.Used(ctx, 7)
			return err
		})
		same(t, what+", in a transaction", got, want)
	}
	used("ROOT volumes alone", access.Usage{})
	w.vol(t, "a")
	w.vol(t, "b", func(v *volume.Volume) { v.State, v.Bytes = volume.Creating, 200*volume.GiB })
	w.vol(t, "c", func(v *volume.Volume) { v.State, v.FacilityCode = volume.Deleting, lax })
	w.vol(t, "d", func(v *volume.Volume) { v.State = volume.Discarded })
	w.vol(t, "e", func(v *volume.Volume) { v.ClientID = 9 })
	used("volumes", access.Usage{Volumes: 3, GiB: 300})

	grow := func(id string, size int) {
		w.enqueue(t, task.New{
			Kind: volume.KindResize, Lane: task.VolumeLane(id), ClientID: 7, VolumeID: id, Args: map[string]any{"size": size, "volumeId": id},
		})
	}
	grow("a", 100)
	grow("a", 500)
	grow("c", 100)
	used("resizes", access.Usage{Volumes: 3, GiB: 800})
	for _, u := range []access.Usage{{Volumes: 3, GiB: 800}, {Volumes: 3, GiB: 350}} { // the smaller one of a, then the larger
		_, l := w.claimOne(t, "n/b")
		check(t, w.Tasks().Finish(ctx, l, task.Outcome{State: task.Failed, Reason: "storage_full"}))
		used("after a resize that failed", u)
	}
	w.vol(t, "c", func(v *volume.Volume) { v.Bytes, v.FacilityCode = 100*volume.GiB, lax })
	used("a resize that is written and has not ended", access.Usage{Volumes: 3, GiB: 350})

	put := func(id string, st iso.State, done, size int64, sha string) {
		w.putISO(t, id, func(i *iso.ISO) { i.State, i.Done, i.Size, i.SHA256 = st, done, size, sha })
	}
	put("1", iso.Queued, 0, 0, "")
	put("2", iso.Downloading, 3, 10, "")
	put("3", iso.Downloading, 5, 0, "") // its length is not known
	put("4", iso.Ready, 100, 100, "aa")
	put("5", iso.Failed, 7, 1000, "")
	put("6", iso.Failed, 200, 200, "bb") // after its content was claimed
	put("7", iso.Deleting, 400, 400, "cc")
	put("8", iso.Deleting, 7, 1000, "")
	w.putISO(t, "9", func(i *iso.ISO) { i.ClientID, i.State, i.Size = 8, iso.Ready, 9999 })
	used("ISOs", access.Usage{Volumes: 3, GiB: 350, ISOs: 8, ISOBytes: 10 + 5 + 100 + 200 + 400})
}

// testQuotaRace: transactions that reserve at once never take more than there
// is.
func testQuotaRace(t *testing.T, w *world) {
	ctx := context.Background()
	check(t, w.Access().PutQuota(ctx, 7, access.Quota{Volumes: new(int64(5))}))
	const askers = 16
	answers := make(chan error, askers)
	for n := range askers {
		go func() {
			answers <- w.Volumes().Tx(ctx, func(tx volume.Tx) error {
				if err := access.Reserve(ctx, tx, 7, access.Usage{Volumes: 1}); err != nil {
					return err
				}
				return tx.PutVolume(ctx, volume.Volume{
					ID: string(rune('a' + n)), ClientID: 7, FacilityCode: tpa, Type: volume.DataDisk, State: volume.Creating,
					Bytes: volume.GiB, CreatedAt: w.clock.Now(),
				})
			})
		}()
	}
	taken := 0
	for range askers {
		err := <-answers
		if err == nil {
			taken++
			continue
		}
		is(t, err, access.ErrQuota)
	}
	same(t, "accepted", taken, 5)
}
