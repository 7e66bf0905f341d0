"""The gates and the judge on anybody's two-hand data: what is wrong with it, and where to look."""

from twohand500k.audit.detect import AUDITED
from twohand500k.audit.run import AuditOptions, AuditReport, audit

__all__ = ["AUDITED", "AuditOptions", "AuditReport", "audit"]
