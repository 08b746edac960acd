"""Pages that open by double-click: text, tables, charts and pictures in one self-contained HTML file."""
