"""For every alert: what the platform shows when it must fire, and what it shows when it must not.

Series are in promtool's notation (`0+10x60`: from 0, 10 more at each of 60 steps of 30 s); an alert is looked for after
29 minutes, and must be silent until its `for` is over.
"""

from dataclasses import dataclass, field

Series = dict[str, str]

STILL, GROWS = "5x60", "5+10x60"
RAN = GROWS
"""A counter that shows that the service works."""
ENDED = "5+10x20"
"""A counter whose process was there for ten minutes."""


@dataclass(frozen=True)
class Case:
    """`gone`: what it must fire at besides, because nothing is left, or there yet, to compare."""

    fires: Series
    quiet: Series
    gone: Series = field(default_factory=dict)


def _counter(series: str) -> Case:
    """An alert on a counter that should never move."""
    return Case({series: GROWS}, {series: STILL})


def _histogram(name: str, labels: str, below: str, above: str) -> Case:
    """An alert on the 99th percentile: all observations up to `below` s, or none until beyond `above` s."""

    def buckets(first: str) -> Series:
        joined = f"{labels}," if labels else ""
        return {
            f'{name}_bucket{{{joined}le="{below}"}}': first,
            f'{name}_bucket{{{joined}le="{above}"}}': GROWS,
            f'{name}_bucket{{{joined}le="+Inf"}}': GROWS,
        }

    return Case(buckets("0x60"), buckets(GROWS))


def _up(values: str, *jobs: str) -> Series:
    """That these jobs, or all that there must be, are scraped."""
    all_jobs = ("history-sink", "history-api", "auth", "stream-hub", "twap-engine", "api-gateway")
    return {f'up{{job="{job}",instance="a"}}': values for job in jobs or all_jobs}


CASES = {
    "ServiceDown": Case({'up{job="auth",instance="a"}': "0x60"}, {'up{job="auth",instance="a"}': "1x60"}),
    "ServiceAbsent": Case({**_up("1x60"), **_up("1x20", "auth")}, _up("1x60")),
    "ServiceRestarting": Case(
        {'process_start_time_seconds{job="auth",instance="a"}': "100+1x60"},
        {'process_start_time_seconds{job="auth",instance="a"}': "100x60"},
    ),
    "EventLoopLate": _histogram("crosstape_runtime_loop_lag_seconds", 'job="auth",instance="a"', "0.25", "0.5"),
    "FeedSilent": Case(
        {'crosstape_ingestor_frames_total{exchange="okx",instance="a"}': STILL},
        {
            'crosstape_ingestor_frames_total{exchange="okx",instance="a"}': STILL,
            'crosstape_ingestor_frames_total{exchange="okx",instance="b"}': GROWS,
        },
        gone={'crosstape_ingestor_frames_total{exchange="okx",instance="a"}': ENDED},
    ),
    "TradesSilent": Case(
        {'crosstape_ingestor_last_trade_age_seconds{exchange="okx",instance="a"}': "0+30x60"},
        {
            'crosstape_ingestor_last_trade_age_seconds{exchange="okx",instance="a"}': "0+30x60",
            'crosstape_ingestor_last_trade_age_seconds{exchange="okx",instance="b"}': "1x60",
        },
    ),
    "FeedDisconnected": Case(
        {
            'crosstape_ingestor_connected_sockets{exchange="okx",instance="a"}': "3x60",
            'crosstape_ingestor_sockets{exchange="okx",instance="a"}': "4x60",
        },
        {
            'crosstape_ingestor_connected_sockets{exchange="okx",instance="a"}': "4x60",
            'crosstape_ingestor_sockets{exchange="okx",instance="a"}': "4x60",
        },
        gone={'crosstape_ingestor_connected_sockets{exchange="okx",instance="a"}': "0x60"},
    ),
    "FeedFlapping": Case(
        {
            'crosstape_ingestor_connects_total{exchange="okx",instance="a"}': "0+3x60",
            'crosstape_ingestor_sockets{exchange="okx",instance="a"}': "4x60",
        },
        {
            'crosstape_ingestor_connects_total{exchange="okx",instance="a"}': "0x45 30x15",
            'crosstape_ingestor_sockets{exchange="okx",instance="a"}': "30x60",
        },
    ),
    "GapsUnfillable": Case(
        {'crosstape_ingestor_gaps_total{exchange="okx",cause="bus",state="unfillable"}': GROWS},
        {
            'crosstape_ingestor_gaps_total{exchange="okx",cause="bus",state="unfillable",instance="a"}': STILL,
            'crosstape_ingestor_gaps_total{exchange="okx",cause="bus",state="repaired",instance="a"}': GROWS,
            'process_start_time_seconds{instance="a"}': "0x60",
        },
        gone={
            'crosstape_ingestor_gaps_total{exchange="okx",cause="bus",state="unfillable",instance="b"}': "_x40 1x20",
            'process_start_time_seconds{instance="b"}': "_x40 1200x20",
        },
    ),
    "GapsUnrepaired": Case(
        {'crosstape_ingestor_gaps_total{exchange="okx",cause="sequence",state="open"}': GROWS},
        {
            'crosstape_ingestor_gaps_total{exchange="okx",cause="sequence",state="open"}': GROWS,
            'crosstape_ingestor_gaps_total{exchange="okx",cause="sequence",state="repaired"}': GROWS,
        },
    ),
    "FramesMalformed": Case(
        {
            'crosstape_ingestor_malformed_frames_total{exchange="okx",kind="json"}': "0+1x60",
            'crosstape_ingestor_frames_total{exchange="okx"}': "0+100x60",
        },
        {
            'crosstape_ingestor_malformed_frames_total{exchange="okx",kind="json"}': "0+1x60",
            'crosstape_ingestor_frames_total{exchange="okx"}': "0+10000x60",
        },
    ),
    "TradesRefused": _counter('crosstape_ingestor_trades_refused_total{exchange="okx",reason="decimal"}'),
    "MarketsUnlisted": Case(
        {'crosstape_ingestor_unlisted_symbols{exchange="okx",instance="a"}': "1x60"},
        {'crosstape_ingestor_unlisted_symbols{exchange="okx",instance="a"}': "0x60"},
    ),
    "BusBackpressure": Case(
        {'crosstape_ingestor_values_waiting{exchange="okx",instance="a"}': "300x30 20000x30"},
        {'crosstape_ingestor_values_waiting{exchange="okx",instance="a"}': "300x55 20000x5"},
    ),
    "SinkLagging": Case(
        {'crosstape_history_lag_seconds{instance="a"}': "40 0 " * 30},
        {'crosstape_history_lag_seconds{instance="a"}': "40 0 0 0 " * 15},
    ),
    "SinkStalled": Case(
        {"crosstape_ingestor_trades_published_total": GROWS},
        {"crosstape_ingestor_trades_published_total": GROWS, 'crosstape_history_rows_total{table="trades"}': GROWS},
    ),
    "StoreFailing": _counter('crosstape_history_store_failures_total{instance="a"}'),
    "FlushSlow": _histogram("crosstape_history_flush_seconds", 'instance="a"', "1", "2.5"),
    "DeadLetters": _counter('crosstape_history_dead_letters_total{reason="undecodable"}'),
    "BarsBehind": Case(
        {'crosstape_history_closing_backlog{instance="a"}': "3000+10x60"},
        {'crosstape_history_closing_backlog{instance="a"}': "3000x60"},
    ),
    "TapeConflicts": _counter("crosstape_history_tape_conflicts_total"),
    "HubLagging": Case(
        {'crosstape_hub_lag_seconds{instance="a"}': "3x60"}, {'crosstape_hub_lag_seconds{instance="a"}': "0.1x60"}
    ),
    "DeliveryLate": _histogram("crosstape_hub_delivery_delay_seconds", 'instance="a"', "1", "2.5"),
    "SlowClients": Case(
        {'crosstape_hub_closed_sockets_total{code="4408",instance="a"}': "0+60x60"},
        {'crosstape_hub_closed_sockets_total{code="1012",instance="a"}': "0+60x60"},
    ),
    "SocketsRefused": Case(
        {'crosstape_hub_closed_sockets_total{code="4429",instance="a"}': "0+60x60"},
        {'crosstape_hub_closed_sockets_total{code="4429",instance="a"}': "0+1x60"},
    ),
    "HubRecordsRefused": _counter('crosstape_hub_refused_records_total{reason="malformed"}'),
    "SlicesLate": _histogram("crosstape_twap_slice_lateness_seconds", "", "0.25", "0.5"),
    "SlicesMissed": _counter("crosstape_twap_slices_missed_total"),
    "SlicesShort": Case(
        {
            'crosstape_twap_slices_short_total{reason="book"}': "0+5x60",
            "crosstape_twap_slice_lateness_seconds_count": RAN,
        },
        {
            'crosstape_twap_slices_short_total{reason="book"}': "0+1x60",
            "crosstape_twap_slice_lateness_seconds_count": RAN,
        },
    ),
    "OrdersSlipping": _histogram("crosstape_twap_slippage_ratio", "", "0.005", "0.01"),
    "OrdersTakenOver": _counter("crosstape_twap_orders_taken_over_total"),
    "OrderEventsWaiting": Case(
        {'crosstape_twap_events_waiting{instance="a"}': "6000x60"},
        {'crosstape_twap_events_waiting{instance="a"}': "300x60"},
    ),
    "GatewayErrors": Case(
        {
            'crosstape_gateway_request_seconds_count{route="/orders",status="503"}': "0+1x60",
            'crosstape_gateway_request_seconds_count{route="/orders",status="200"}': "0+50x60",
            'crosstape_gateway_request_seconds_count{route="/livez",status="200"}': "0+500x60",
        },
        {
            'crosstape_gateway_request_seconds_count{route="/orders",status="404"}': "0+10x60",
            'crosstape_gateway_request_seconds_count{route="/orders",status="200"}': "0+50x60",
            'crosstape_gateway_request_seconds_count{route="/readyz",status="503"}': "0+6x60",
        },
    ),
    "GatewaySlow": _histogram("crosstape_gateway_request_seconds", 'route="/orders"', "1", "2.5"),
    "BreakerOpen": Case(
        {
            'crosstape_gateway_breaker_state{instance="a",upstream="auth"}': "1x60",
            'crosstape_gateway_upstream_failures_total{instance="a",upstream="auth",reason="breaker_open"}': GROWS,
        },
        {
            'crosstape_gateway_breaker_state{instance="a",upstream="auth"}': "1x60",
            'crosstape_gateway_upstream_failures_total{instance="a",upstream="auth",reason="breaker_open"}': STILL,
            'crosstape_gateway_breaker_state{instance="a",upstream="history"}': "0x60",
            'crosstape_gateway_upstream_failures_total{instance="a",upstream="history",reason="timeout"}': GROWS,
        },
    ),
    "LimiterNotShared": Case(
        {'crosstape_gateway_limiter_shared{instance="a"}': "0x60"},
        {'crosstape_gateway_limiter_shared{instance="a"}': "1x60"},
    ),
    "RequestsLimited": Case(
        {'crosstape_gateway_limited_total{bucket="anonymous"}': "0+900x60"},
        {'crosstape_gateway_limited_total{bucket="anonymous"}': "0+9x60"},
    ),
    "RevocationsUnpublished": Case(
        {'crosstape_auth_revocations_unpublished{instance="a"}': "-1x60"},
        {'crosstape_auth_revocations_unpublished{instance="a"}': "0x60"},
    ),
    "LoginsThrottled": Case(
        {'crosstape_auth_throttled_total{kind="address"}': "0+60x60"},
        {'crosstape_auth_throttled_total{kind="address"}': "0+1x60"},
    ),
    "HashingSaturated": _counter('crosstape_auth_hashes_refused_total{instance="a"}'),
    "RefreshTokenReused": Case(
        {'crosstape_auth_events_total{event="refresh_reused"}': GROWS},
        {'crosstape_auth_events_total{event="login"}': GROWS},
    ),
}
