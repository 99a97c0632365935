"""The only room that knows Ray: a cluster (`cluster`), stages on it (`plan`), training (`train`), search (`search`),
scoring (`score`) and what the dashboards read (`gauges`)."""
