"""All that a check-up looks at, beside the hardware."""

from __future__ import annotations

from onebox.core.settings import Settings
from onebox.core.settings_sources import unknown_names
from onebox.services.checkup.clock import check_clock
from onebox.services.checkup.exposure import check_exposure
from onebox.services.checkup.findings import Findings
from onebox.services.checkup.ports import check_port
from onebox.services.checkup.reach import check_reach
from onebox.services.checkup.secret_strength import check_secrets


def check_all(settings: Settings) -> Findings:
    """Blocking, for some seconds where servers that the settings name do not answer."""
    findings = Findings()
    findings.warnings.extend(unknown.text() for unknown in unknown_names(settings.root))
    for check in (check_port, check_secrets, check_exposure, check_clock, check_reach):
        check(settings, findings)
    return findings
