"""The quality report: what a conversion sounds like, in figures with intervals, beside what else could have been done.

from autovoice.tools.quality import Clip, assess

report = assess([Clip("hello", source, converted, 48_000, references=(own, speech), text="Hello there.")])
print(report.text())
publish(folder, report, clips)  # quality.json and quality.html
"""

from autovoice.tools.quality.assess import assess
from autovoice.tools.quality.clips import Clip, QualityError
from autovoice.tools.quality.page import publish
from autovoice.tools.quality.report import Report, Row

__all__ = ["Clip", "QualityError", "Report", "Row", "assess", "publish"]
