package httpapi

import (
	"net/http"
	"strconv"
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
	h := w.Header()
	h["Content-Type"] = typeJSON
	h["Content-Length"] = []string{strconv.Itoa(len(e.Buf))} // else a long answer goes out in chunks
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(e.Buf)
	if cap(e.Buf) <= keptBuffer {
		jx.PutWriter(e)
	}
	return err
}

// encodeVolume writes what toVolume gives. It appends to the buffer itself: a
// list has some twenty pieces for each volume, and a call for each would take
// longer than the pieces.
func encodeVolume(e *jx.Writer, v *volume.Volume, inBytes bool) {
	member(e, `{"volumeId":`, v.ID)
	member(e, `,"type":`, string(v.Type))
	b := append(e.Buf, `,"size":`...)
	b = strconv.AppendInt(b, shownSize(*v, inBytes), 10)
	b = append(b, `,"sizeBytes":`...)
	b = strconv.AppendInt(b, v.Bytes, 10)
	b = append(b, `,"deviceId":`...)
	if v.DeviceID == 0 {
		b = append(b, `null`...)
	} else {
		b = strconv.AppendInt(b, v.DeviceID, 10)
	}
	e.Buf = b
	member(e, `,"facilityCode":`, v.FacilityCode)
	b = append(e.Buf, `,"createdAt":"`...)
	e.Buf = append(inUTC(v.CreatedAt).AppendFormat(b, time.RFC3339Nano), '"')
	member(e, `,"state":`, string(v.State))
	b = append(e.Buf, `,"monthlyPrice":`...)
	if v.Type == volume.Root {
		b = append(b, `null`...)
	} else {
		b = v.Monthly.AppendJSON(b)
	}
	e.Buf = append(b, '}')
}

// member writes a key as it is and its value as a JSON string.
func member(e *jx.Writer, key, value string) {
	e.Buf = append(e.Buf, key...)
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			e.Str(value) // escapes
			return
		}
	}
	e.Buf = append(e.Buf, '"')
	e.Buf = append(e.Buf, value...)
	e.Buf = append(e.Buf, '"')
}
