package provider

import (
	"context"
	"log/slog"

	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// logger hands what the client logs to Terraform, which shows it with TF_LOG.
func logger() *slog.Logger { return slog.New(handler{}) }

type handler struct{ with []slog.Attr }

func (handler) Enabled(context.Context, slog.Level) bool { return true } // Terraform chooses

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]any{}
	add := func(a slog.Attr) bool { fields[a.Key] = a.Value.Resolve().String(); return true }
	for _, a := range h.with {
		add(a)
	}
	r.Attrs(add)
	switch {
	case r.Level >= slog.LevelError:
		tflog.Error(ctx, r.Message, fields)
	case r.Level >= slog.LevelWarn:
		tflog.Warn(ctx, r.Message, fields)
	case r.Level >= slog.LevelInfo:
		tflog.Info(ctx, r.Message, fields)
	default:
		tflog.Debug(ctx, r.Message, fields)
	}
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{with: append(append([]slog.Attr(nil), h.with...), attrs...)}
}

// WithGroup does not nest: what we log has no groups.
func (h handler) WithGroup(string) slog.Handler { return h }
