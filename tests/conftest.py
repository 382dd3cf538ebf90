"""What all tests share: Hypothesis measures no time, for machines are busy."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")
