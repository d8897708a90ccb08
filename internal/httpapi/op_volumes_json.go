package httpapi

import (
	"net/http"
	"time"

	"github.com/go-faster/jx"

	"github.com/drivebay/drivebay/internal/volume"
)

// Reading volumes is what clients do most, so these two answers write
// themselves without reflection. A test holds them to the generated encoding.

// volumesAnswer is the answer of ListVolumes.
type volumesAnswer struct {
	list    []volume.Volume
	inBytes bool
}

// VisitListVolumesResponse writes the answer.
func (a volumesAnswer) VisitListVolumesResponse(w http.ResponseWriter) error {
	return answerWith(w, func(e *jx.Writer) {
		e.ArrStart()
		for i := range a.list {
			if i > 0 {
				e.Comma()
			}
			encodeVolume(e, &a.list[i], a.inBytes)
		}
		e.ArrEnd()
	})
}

// volumeAnswer is the answer of GetVolume.
type volumeAnswer struct {
	v       volume.Volume
	inBytes bool
}

// VisitGetVolumeResponse writes the answer.
func (a volumeAnswer) VisitGetVolumeResponse(w http.ResponseWriter) error {
	return answerWith(w, func(e *jx.Writer) { encodeVolume(e, &a.v, a.inBytes) })
}

// keptBuffer is the largest buffer that goes back to the pool: one huge list
// must not hold its memory for good.
const keptBuffer = 256 << 10

// answerWith answers 200 with what encode writes and a newline.
func answerWith(w http.ResponseWriter, encode func(*jx.Writer)) error {
	e := jx.GetWriter()
	encode(e)
	e.RawStr("\n")
	w.Header()["Content-Type"] = typeJSON
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(e.Buf)
	if cap(e.Buf) <= keptBuffer {
		jx.PutWriter(e)
	}
	return err
}

// encodeVolume writes what toVolume gives.
func encodeVolume(e *jx.Writer, v *volume.Volume, inBytes bool) {
	e.RawStr(`{"volumeId":`)
	e.Str(v.ID)
	e.RawStr(`,"type":`)
	e.Str(string(v.Type))
	e.RawStr(`,"size":`)
	e.Int64(shownSize(*v, inBytes))
	e.RawStr(`,"sizeBytes":`)
	e.Int64(v.Bytes)
	e.RawStr(`,"deviceId":`)
	if v.DeviceID == 0 {
		e.Null()
	} else {
		e.Int64(v.DeviceID)
	}
	e.RawStr(`,"facilityCode":`)
	e.Str(v.FacilityCode)
	e.RawStr(`,"createdAt":"`)
	e.Buf = inUTC(v.CreatedAt).AppendFormat(e.Buf, time.RFC3339Nano)
	e.RawStr(`","state":`)
	e.Str(string(v.State))
	e.RawStr(`,"monthlyPrice":`)
	if v.Type == volume.Root {
		e.Null()
	} else {
		e.Buf = v.Monthly.AppendJSON(e.Buf)
	}
	e.ObjEnd()
}
