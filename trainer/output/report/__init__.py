"""Pages about runs: one HTML file each, for anybody with a browser, without a network."""

from trainer.output.report.comparison_page import write_comparison
from trainer.output.report.reading import ResultsFolder, read_folder
from trainer.output.report.run_page import write_report

__all__ = ["ResultsFolder", "read_folder", "write_comparison", "write_report"]
