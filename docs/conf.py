"""The pages as a site: `python -m sphinx -W docs build/docs`. A link that leads nowhere is an
error.
"""

project = "Onebox"
author = "Onebox contributors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Onebox"
# Links to a heading of a page are checked down to this level.
myst_heading_anchors = 4
