"""Several devices that hold one model: a share of its weights on each, one leader that schedules, all in step."""
